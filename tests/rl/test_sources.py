"""Sources: files, datasets and generators are read as they are, and what is wrong with them is named."""

import enum
import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from rl.puzzles import as_json
from rl.sources import Source, SourceConfig, to_prompt

VERL_ROW = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": "What is 2 + 2?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "4"},
    "extra_info": {"index": 0, "split": "train"},
}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def text(prompt):
    return prompt.messages[-1]["content"]


def echo(rng, mark="g"):
    return {"question": f"{mark}{rng.randrange(10**6)}", "reference": "1"}


def nothing(rng):
    return None


def test_row_numbers_count_blank_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "a", "answer": "1"}\n\n\n{"question": "b"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, row 3: no reward_model"):
        Source(SourceConfig(path=str(tmp_path / "a.jsonl")), seed=0)


def test_a_line_that_is_no_json_can_be_skipped_too(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"question": "a", "answer": "1"}\nnot json\n[]\n{"question": "b", "answer": "2"}\n'
    )
    source = Source(SourceConfig(path=str(tmp_path / "a.jsonl"), on_bad_row="skip"), seed=0)
    assert (len(source), source.num_skipped) == (2, 2)
    with pytest.raises(ValueError, match="row 1: no JSON"):
        Source(SourceConfig(path=str(tmp_path / "a.jsonl")), seed=0)


@pytest.mark.parametrize(
    ("field", "value"), [("params", 3), ("params", ["x"]), ("task", 5), ("reference", Decimal(1)), ("reference", b"1")]
)
def test_a_field_of_the_wrong_type_is_named(field, value):
    row = {"question": "q", "reference": "1"} | {field: value}
    with pytest.raises(ValueError, match=f"file, row 0: {field}"):
        to_prompt(row, SourceConfig(path="x"), "file, row 0")


@pytest.mark.timeout(60)
def test_an_unlimited_reasoning_gym_generator_starts():
    source = Source(SourceConfig(reasoning_gym="gsm_symbolic"), seed=0)
    assert source.prompt(3).reference


def test_verl_parquet_is_read_as_it_is(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([VERL_ROW]), tmp_path / "train.parquet")
    prompt = Source(SourceConfig(path=str(tmp_path / "train.parquet")), seed=0).prompt(0)
    assert prompt.messages == ({"role": "user", "content": "What is 2 + 2?"},)
    assert (prompt.task, prompt.reference) == ("math", "4")
    assert prompt.params == {"data_source": "openai/gsm8k", "extra_info": {"index": 0, "split": "train"}}


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
    assert (first.task, first) == ("reasoning_gym", again)
    assert first != Source(config, seed=2).prompt(4)
    assert set(first.reference) == {"generator", "entry", "options"}
    assert set(first.reference["entry"]) == {"question", "answer", "metadata"}
    assert (first.reference["generator"], first.reference["options"]) == ("chain_sum", config.options)
    assert json.loads(json.dumps(first.reference)) == first.reference
    with pytest.raises(ValueError, match="no_such_generator"):
        Source(SourceConfig(reasoning_gym="no_such_generator"), seed=1)


def test_another_task_for_reasoning_gym_has_the_bare_answer():
    config = {"reasoning_gym": "chain_sum", "limit": 10}
    puzzle = Source(SourceConfig.model_validate(config), seed=1).prompt(4)
    plain = Source(SourceConfig.model_validate(config | {"task": "math"}), seed=1).prompt(4)
    assert (plain.task, plain.messages) == ("math", puzzle.messages)
    assert plain.reference == puzzle.reference["entry"]["answer"]
    assert puzzle.reference.get("options") is None


def test_metadata_becomes_plain_data():
    class Colour(enum.Enum):
        RED = "red"

    value = {(1, 2): {3, 1}, Colour.RED: (Colour.RED, np.int64(4), np.array([[1, 2]])), "f": Fraction(1, 2), "n": None}
    assert as_json(value) == {"[1, 2]": [1, 3], "red": ["red", 4, [[1, 2]]], "f": "1/2", "n": None}


def test_every_row_of_a_large_parquet_file_is_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [VERL_ROW | {"reward_model": {"style": "rule", "ground_truth": str(n)}} for n in range(3000)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=700)
    source = Source(SourceConfig(path=str(tmp_path / "a.parquet"), shuffle=False), seed=0)
    assert [source.prompt(n).reference for n in range(3000)] == [str(n) for n in range(3000)]


def test_the_first_field_that_is_not_null_counts():
    row = {"prompt": None, "question": "q", "reference": None, "answer": "1", "reward_model": None, "params": None}
    prompt = to_prompt(row, SourceConfig(path="x"), "x, row 0")
    assert (text(prompt), prompt.reference) == ("q", "1")


def test_a_message_without_text_is_refused():
    row = {"prompt": [{"role": "user", "content": None}], "answer": "1"}
    with pytest.raises(ValueError, match="file, row 2: role and content of a message must be texts"):
        to_prompt(row, SourceConfig(path="x"), "file, row 2")


def test_a_line_that_is_no_utf8_is_named_or_skipped_and_a_mark_at_the_start_is_fine(tmp_path):
    good = b'{"question": "a", "answer": "1"}\n'
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b'{"question": "\xff", "answer": "1"}\n' + good)
    with pytest.raises(ValueError, match=r"a\.jsonl, row 1: no JSON"):
        Source(SourceConfig(path=str(tmp_path / "a.jsonl")), seed=0)
    source = Source(SourceConfig(path=str(tmp_path / "a.jsonl"), on_bad_row="skip"), seed=0)
    assert (len(source), source.num_skipped) == (2, 1)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a.parquet").write_bytes(b"no parquet at all")
    (tmp_path / "a.csv").write_text("question\n")
    for config, message in [
        ({"path": str(tmp_path / "a.parquet")}, r".*a\.parquet: Parquet"),
        ({"path": str(tmp_path / "a.csv")}, r"a\.csv is neither \.parquet nor \.jsonl"),
        ({"path": str(tmp_path / "b.jsonl")}, r"no file .*b\.jsonl"),
        ({"dataset": str(tmp_path / "none")}, r"dataset .*none: "),
    ]:
        with pytest.raises(ValueError, match=message):
            Source(SourceConfig.model_validate(config), seed=0)


def test_a_file_of_bad_rows_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jsonl holds no usable row"):
        Source(SourceConfig(path=write_jsonl(tmp_path / "a.jsonl", [{}, {}]), on_bad_row="skip"), seed=0)


def test_generators_from_a_module_and_from_a_file():
    ours = SourceConfig(generator="rl.arithmetic:problem", options={"add_up_to": 4})
    assert text(Source(ours, seed=1).prompt(3)).startswith("What is ")
    assert Source(ours, seed=1).prompt(3) == Source(ours, seed=1).prompt(3) != Source(ours, seed=2).prompt(3)
    config = SourceConfig(generator=f"{__file__}:echo", options={"mark": "z"}, limit=4)
    source = Source(config, seed=1)
    asked = [text(source.prompt(n)) for n in range(8)]
    assert asked[:4] == asked[4:]
    assert len(set(asked)) == 4
    assert all(question.startswith("z") for question in asked)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"generator": "rl.arithmetic:problem", "options": {"add_upto": 3}}, "options of rl.arithmetic:.*add_upto"),
        ({"generator": "rl.arithmetic:nothing"}, "rl.arithmetic has no function 'nothing'"),
        ({"generator": "no_such_module:f"}, "cannot import 'no_such_module'"),
        ({"reasoning_gym": "chain_sum", "options": {"terms": 3}}, "reasoning_gym 'chain_sum': .*terms"),
        ({"reasoning_gym": "chain_sum", "options": {"min_terms": 9, "max_terms": 2}}, "max_terms must be >= min_terms"),
    ],
)
def test_generators_and_their_options_are_checked_at_the_start(config, message):
    with pytest.raises(ValueError, match=message):
        Source(SourceConfig.model_validate(config), seed=0)


def test_a_generator_that_gives_no_row_is_named():
    source = Source(SourceConfig(generator=f"{__file__}:nothing"), seed=0)
    with pytest.raises(ValueError, match="nothing, row 7: a mapping is wanted, got NoneType"):
        source.prompt(7)
