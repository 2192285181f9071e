"""What a source, a suite and a filter refuse, and that they refuse it before anything hangs."""

import random
from decimal import Decimal

import pytest
from pydantic import ValidationError

from rl import arithmetic
from rl.evals import EvalConfig, Evals
from rl.filters import build_group_filter
from rl.sources import Source, SourceConfig, to_prompt
from rl.statistics import consensus, paired_gain
from tests.fakes import FakeEvalLog, FakeSampler, FakeScorer, make_scored


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


@pytest.mark.timeout(10)
def test_arithmetic_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="known are train, held_out"):
        arithmetic.problem(random.Random(0), split="heldout")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no held_out problem"):
        arithmetic.problem(random.Random(0), split="held_out", add_up_to=0, multiply_up_to=1)


def test_an_endless_suite_needs_a_limit():
    endless = {"suite": "s", "source": {"generator": "rl.arithmetic:problem"}}
    with pytest.raises(ValidationError, match="give limit"):
        EvalConfig.model_validate(endless)
    assert EvalConfig.model_validate(endless | {"limit": 3}).limit == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"source": {"path": "x"}, "params": {"a": 1}}, "put them into source.params"),
        ({"hook": "nonsense"}, "unknown eval hook"),
    ],
)
def test_a_config_that_would_be_ignored_is_refused(extra, message):
    with pytest.raises(ValidationError, match=message):
        EvalConfig.model_validate({"suite": "s"} | extra)


def test_two_suites_of_one_name_are_refused():
    configs = [EvalConfig(suite="arithmetic", limit=2), EvalConfig(suite="arithmetic", limit=3)]
    with pytest.raises(ValueError, match="must differ"):
        Evals(configs, FakeSampler(lambda p: []), FakeScorer(), FakeEvalLog(), seed=0, num_steps=1)


async def test_prompts_without_any_score_are_counted():
    config = EvalConfig(suite="arithmetic", limit=2, samples_per_prompt=1)
    evals = Evals([config], FakeSampler(lambda p: ["broken"]), FakeScorer(), FakeEvalLog(), seed=0, num_steps=1)
    metrics = await evals.run_if_first(0)
    assert (metrics["eval/arithmetic/unscored_prompts"], metrics["eval/arithmetic/error_rate"]) == (2, 1)


def test_consensus_is_the_score_of_the_most_frequent_answer():
    assert consensus(["1", "2", "2"], [1.0, 0.0, 0.0]) == 0
    assert consensus(["1", "2", None, None, None], [1.0, 0.0, 0.0, 0.0, 0.0]) == 1
    assert consensus([None], [0.0]) == 0


@pytest.mark.filterwarnings("error")
def test_a_gain_without_common_prompts_is_not_a_number():
    assert paired_gain({"a": 1.0}, {"b": 1.0}) == (pytest.approx(float("nan"), nan_ok=True),) * 2


def drop_all(group):
    return "mine"


def test_a_filter_from_outside():
    assert build_group_filter([f"{__file__}:drop_all"])(make_scored([1.0, 0.0])) == "mine"
