"""Conversations: read with clear errors, the same stream for the same seed, exact over a resume."""

import json

import pytest

from rl.conversations import conversation_stream, to_conversation
from rl.row_stream import RowSourceConfig, read_items

USER = {"role": "user", "content": "q"}


class WordRenderer:
    """Each word a token: its length; the last message is the model's."""

    def render_conversation(self, messages, *, thinking=None):
        words = [[len(word) for word in message["content"].split()] for message in messages]
        flat = [token for message in words for token in message]
        return tuple(flat), (False,) * (len(flat) - len(words[-1])) + (True,) * len(words[-1])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def numbered(path, count):
    answers = [{"role": "assistant", "content": "a" * (n + 1)} for n in range(count)]
    return write(path, [{"messages": [USER, answer]} for answer in answers])


def stream_of(*sources, seed=3, max_tokens=100):
    configs = [RowSourceConfig.model_validate(source) for source in sources]
    return conversation_stream(configs, seed, WordRenderer(), max_tokens)


def taken(stream, count):
    return [example.token_ids for example in stream.take(count).examples]


def test_an_epoch_holds_each_conversation_once_and_the_next_one_in_another_order(tmp_path):
    stream = stream_of({"path": numbered(tmp_path / "a.jsonl", 30)})
    first, second = taken(stream, 30), taken(stream, 30)
    assert sorted(first) == sorted(second) == [(1, n + 1) for n in range(30)]
    assert first != second


def test_a_resumed_stream_goes_on_where_the_other_stopped(tmp_path):
    source = {"path": numbered(tmp_path / "a.jsonl", 30)}, {"generator": "rl.arithmetic:conversation", "weight": 2}
    whole, cut = stream_of(*source), stream_of(*source)
    expected = taken(whole, 40)
    assert taken(cut, 17) == expected[:17]
    resumed = stream_of(*source)
    resumed.load(json.loads(json.dumps(cut.state())))
    assert taken(resumed, 23) == expected[17:]


def test_the_prefix_is_what_stands_before_the_first_trained_token(tmp_path):
    messages = [{"role": "system", "content": "be brief"}, USER, {"role": "assistant", "content": "it is so"}]
    (example,) = stream_of({"path": write(tmp_path / "a.jsonl", [{"messages": messages}])}).take(1).examples
    assert example.prefix_length == 3
    assert example.trainable == (False, False, False, True, True, True)
    assert example.advantages is None


def test_long_conversations_are_passed_over_and_counted(tmp_path):
    long = {"messages": [USER, {"role": "assistant", "content": "a " * 50}]}
    short = {"messages": [USER, {"role": "assistant", "content": "a"}]}
    source = {"path": write(tmp_path / "a.jsonl", [long, short]), "shuffle": False}
    batch = stream_of(source, max_tokens=10).take(2)
    assert [len(example.token_ids) for example in batch.examples] == [2, 2]
    assert batch.metrics == {"data/too_long": 2.0}
    with pytest.raises(ValueError, match="exceed max_tokens = 1"):
        stream_of(source, max_tokens=1).take(1)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, "no list messages"),
        ({"messages": []}, "no list messages"),
        ({"messages": ["hi"]}, "each message has a role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "each message has a role"),
        ({"messages": [{"role": "user", "content": None}]}, "content of a message must be a text"),
        ({"messages": [USER]}, "the last message must be the assistant's, it is of user"),
        ({"messages": [USER, {"role": "assistant", "content": "x"}], "thinking": "yes"}, "thinking must be"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, fault):
    good = {"messages": [USER, {"role": "assistant", "content": "x"}]}
    path = write(tmp_path / "a.jsonl", [good, row])
    with pytest.raises(ValueError, match=f"row 1: {fault}"):
        read_items(RowSourceConfig(path=path), to_conversation)


def test_a_source_has_one_origin(tmp_path):
    with pytest.raises(ValueError, match="exactly one of path, dataset, generator"):
        RowSourceConfig(path="a.jsonl", dataset="b")
    with pytest.raises(ValueError, match="holds no row"):
        read_items(RowSourceConfig(path=write(tmp_path / "a.jsonl", [])), to_conversation)
