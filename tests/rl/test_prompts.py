"""Sources and the stream: read as they are, the same everywhere, and exact over a resume."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from pydantic import ValidationError

from rl.prompts import PromptsConfig, PromptStream
from rl.sources import Source, SourceConfig, to_prompt

VERL_ROW = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": "What is 2 + 2?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "4"},
    "extra_info": {"index": 0, "split": "train"},
}
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


def test_verl_parquet_is_read_as_it_is(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([VERL_ROW]), tmp_path / "train.parquet")
    prompt = Source(SourceConfig(path=str(tmp_path / "train.parquet")), seed=0).prompt(0)
    assert prompt.messages == ({"role": "user", "content": "What is 2 + 2?"},)
    assert (prompt.task, prompt.reference) == ("math", "4")


def test_hugging_face_dataset_is_read_from_a_folder(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([VERL_ROW]), tmp_path / "set" / "train.parquet")
    source = Source(SourceConfig(dataset=str(tmp_path / "set")), seed=0)
    assert (len(source), source.prompt(0).reference) == (1, "4")


@pytest.mark.parametrize("question", ["prompt", "question", "problem"])
@pytest.mark.parametrize("reference", ["reference", "answer"])
def test_simple_fields(tmp_path, question, reference):
    path = write_jsonl(tmp_path / "a.jsonl", [{question: "1 + 1?", reference: "2"}])
    prompt = Source(SourceConfig(path=path), seed=0).prompt(0)
    assert (text(prompt), prompt.reference, prompt.task) == ("1 + 1?", "2", "math")


def test_data_source_names_a_task_and_the_config_overrides_it():
    row = {"question": "?", "answer": "a", "data_source": "exact"}
    assert to_prompt(row, SourceConfig(path="x"), "x, row 0").task == "exact"
    assert to_prompt(row, SourceConfig(path="x", task="math_int"), "x, row 0").task == "math_int"


def test_system_examples_and_a_template_with_braces():
    config = SourceConfig(
        path="x",
        system="S",
        examples=[{"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}],
        template="{question} Answer in \\boxed{}.",
        params={"extract": "lenient"},
    )
    prompt = to_prompt({"question": "Is {x}?", "answer": "1", "params": {"extract": "boxed", "a": 1}}, config, "x")
    assert [m["role"] for m in prompt.messages] == ["system", "user", "assistant", "user"]
    assert text(prompt) == "Is {x}? Answer in \\boxed{}."
    assert prompt.params == {"extract": "lenient", "a": 1}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"answer": "1"}, "no field prompt, question or problem"),
        ({"question": "q"}, "no reward_model.ground_truth, reference or answer"),
        ({"question": ["q"], "answer": "1"}, "prompt is neither a text nor a list of role and content"),
    ],
)
def test_a_bad_row_names_file_row_and_field(tmp_path, row, field):
    path = write_jsonl(tmp_path / "bad.jsonl", [{"question": "q", "answer": "1"}, row])
    with pytest.raises(ValueError, match=field) as caught:
        Source(SourceConfig(path=path), seed=0)
    assert f"{path}, row 1" in str(caught.value)
    source = Source(SourceConfig(path=path, on_bad_row="skip"), seed=0)
    assert (len(source), source.num_skipped) == (1, 1)


@pytest.mark.parametrize("bad", [{}, {"path": "a", "generator": "m:f"}, {"path": "a", "template": "no field"}])
def test_bad_source_configs_are_refused(bad):
    with pytest.raises(ValidationError):
        SourceConfig.model_validate(bad)


def test_reasoning_gym_by_name():
    config = SourceConfig(reasoning_gym="chain_sum", options={"min_terms": 2, "max_terms": 2}, limit=10)
    first, again = Source(config, seed=1).prompt(4), Source(config, seed=1).prompt(4)
    assert (first.task, first) == ("exact", again)
    assert first != Source(config, seed=2).prompt(4)
    with pytest.raises(ValueError, match="no_such_generator"):
        Source(SourceConfig(reasoning_gym="no_such_generator"), seed=1)


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
    counts = Counter(text(stream.draw().prompt)[0] for _ in range(8000))  # deviation of the share: 0.005
    assert 0.73 < counts["b"] / 8000 < 0.77


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


def test_a_late_resume_finds_the_same_draw():
    sources = [{"generator": "rl.arithmetic:problem"}, {"generator": "rl.arithmetic:problem", "weight": 3}]
    late, other = stream_of(*sources), stream_of(*sources)
    late.load({"low": 1_000_000, "settled": [], "next": 1_000_000})
    other.load({"low": 999_999, "settled": [], "next": 999_999})
    other.draw()
    assert late.draw() == other.draw()
