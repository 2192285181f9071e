"""The stream: the same everywhere, mixed by weight, and exact over a resume."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.prompts import PromptsConfig, PromptStream

IDS = """
from rl.prompts import PromptsConfig, PromptStream
sources = [{"generator": "rl.arithmetic:problem"}, {"generator": "rl.arithmetic:problem", "weight": 2}]
stream = PromptStream(PromptsConfig.model_validate({"sources": sources}), seed=5)
print([stream.draw().prompt.id for _ in range(20)])
"""


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def numbered(path, count, mark="q"):
    return write_jsonl(path, [{"question": f"{mark}{n}", "reference": str(n)} for n in range(count)])


def stream_of(*sources, seed=3):
    return PromptStream(PromptsConfig.model_validate({"sources": list(sources)}), seed)


def text(prompt):
    return prompt.messages[-1]["content"]


def test_ids_are_the_same_in_another_process():
    here: dict[str, list[str]] = {}
    code = IDS.replace("print(", "ids = (")
    exec(code, here)
    run = subprocess.run([sys.executable, "-c", IDS], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == str(here["ids"])


def test_epochs_hold_the_same_ids_in_another_order(tmp_path):
    stream = stream_of({"path": numbered(tmp_path / "a.jsonl", 50)})
    first, second = ([stream.draw().prompt.id for _ in range(50)] for _ in range(2))
    assert len(set(first)) == 50
    assert set(first) == set(second)
    assert first != second


def test_without_shuffle_the_order_is_the_file_s_and_limit_cuts_it(tmp_path):
    stream = stream_of({"path": numbered(tmp_path / "a.jsonl", 9), "shuffle": False, "limit": 3})
    assert [text(stream.draw().prompt) for _ in range(4)] == ["q0", "q1", "q2", "q0"]


def test_weights_are_respected(tmp_path):
    a, b = numbered(tmp_path / "a.jsonl", 5, "a"), numbered(tmp_path / "b.jsonl", 5, "b")
    stream = stream_of({"path": a, "weight": 1}, {"path": b, "weight": 3})
    counts = Counter(text(stream.draw().prompt)[0] for _ in range(20_000))  # deviation of the share: 0.003
    assert 0.735 < counts["b"] / 20_000 < 0.765


def test_a_mixed_stream_goes_through_every_source_without_gaps(tmp_path):
    a, b = numbered(tmp_path / "a.jsonl", 40, "a"), numbered(tmp_path / "b.jsonl", 40, "b")
    stream = stream_of({"path": a, "shuffle": False}, {"path": b, "shuffle": False})
    drawn = [text(stream.draw().prompt) for _ in range(9000)]  # over two blocks of choices
    for mark in "ab":
        own = [t for t in drawn if t[0] == mark]
        assert own == [f"{mark}{n % 40}" for n in range(len(own))]


def test_a_resume_draws_what_was_not_settled_and_then_goes_on(tmp_path):
    source = {"path": numbered(tmp_path / "a.jsonl", 30)}
    whole = stream_of(source)
    draws = [whole.draw() for _ in range(40)]

    cut = stream_of(source)
    for _ in range(10):
        cut.draw()
    cut.mark_learned([7, 0, 1])
    cut.mark_rejected(4)
    state = json.loads(json.dumps(cut.state()))
    assert state == {"low": 2, "settled": [4, 7], "next": 10}

    resumed = stream_of(source)
    resumed.load(state)
    expected = [2, 3, 5, 6, 8, 9, *range(10, 40)]
    assert [resumed.draw() for _ in expected] == [draws[index] for index in expected]


def test_settling_everything_leaves_a_state_that_does_not_grow(tmp_path):
    stream = stream_of({"path": numbered(tmp_path / "a.jsonl", 10)})
    indices = [stream.draw().index for _ in range(500)]
    stream.mark_learned(list(reversed(indices)))
    assert stream.state() == {"low": 500, "settled": [], "next": 500}


def test_a_draw_is_settled_once(tmp_path):
    stream = stream_of({"path": numbered(tmp_path / "a.jsonl", 10)})
    stream.draw()
    stream.draw()
    stream.mark_learned([1])
    with pytest.raises(AssertionError, match="draw 1 is settled already"):
        stream.mark_rejected(1)
    with pytest.raises(AssertionError, match="draw 2 was never made"):
        stream.mark_rejected(2)


@pytest.mark.timeout(10)
def test_a_late_resume_finds_the_same_draw():
    sources = [{"generator": "rl.arithmetic:problem"}, {"generator": "rl.arithmetic:problem", "weight": 3}]
    late, other = stream_of(*sources), stream_of(*sources)
    late.load({"low": 1_000_000, "settled": [], "next": 1_000_000})
    other.load({"low": 999_999, "settled": [], "next": 999_999})
    other.draw()
    assert late.draw() == other.draw()


def test_a_draw_depends_on_the_seed_and_its_index_alone():
    sources = [{"generator": "rl.arithmetic:problem"}, {"generator": "rl.arithmetic:problem", "weight": 2}]
    one, two, other = stream_of(*sources), stream_of(*sources), stream_of(*sources, seed=4)
    draws = [one.draw() for _ in range(200)]
    two.load({"low": 150, "settled": [], "next": 150})
    assert [two.draw() for _ in range(50)] == draws[150:]
    assert [other.draw() for _ in range(200)] != draws


@given(st.lists(st.integers(0, 29), unique=True), st.integers(30, 40), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_any_order_of_settling_repeats_exactly_the_unsettled(settled, num_drawn, again):
    source = {"generator": "rl.arithmetic:problem"}
    draws = [draw for stream in [stream_of(source)] for draw in (stream.draw() for _ in range(60))]
    cut = stream_of(source)
    for _ in range(num_drawn):
        cut.draw()
    cut.mark_learned(settled)
    resumed = stream_of(source)
    resumed.load(json.loads(json.dumps(cut.state())))
    expected = [n for n in range(60) if n not in settled or n >= num_drawn]
    assert [resumed.draw() for _ in expected] == [draws[n] for n in expected]
    # A second interruption, in the middle of the repetition, forgets nothing either.
    twice = stream_of(source)
    twice.load(cut.state())
    for index in expected[:again]:
        assert twice.draw().index == index
    last = stream_of(source)
    last.load(twice.state())
    assert [last.draw().index for _ in expected] == expected
