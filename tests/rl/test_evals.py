"""Evaluations: numbers by hand, unscored samples masked, and gains paired with the first run."""

import json
import math

import pytest
from pydantic import ValidationError

from rl.evals import EvalConfig, Evals, suite_prompts, suite_sampling
from rl.statistics import mean_and_error, paired_gain, pass_at_k, sampling_error
from rollout.types import SamplingParams
from tests.fakes import FakeEvalLog, FakeSampler, FakeScorer


@pytest.fixture
def source(tmp_path):
    rows = [{"question": f"q{n}", "reference": str(n)} for n in range(3)]
    (tmp_path / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(tmp_path / "suite.jsonl")}


def make_evals(config, answers, num_steps=10, seed=1):
    configs = [EvalConfig.model_validate(config)]
    sampler, log = FakeSampler(answers), FakeEvalLog()
    return Evals(configs, sampler, FakeScorer(), log, seed=seed, num_steps=num_steps), sampler, log


def test_pass_at_k_golden_numbers():
    assert pass_at_k(16, 4, 8) == pytest.approx(0.961538, abs=1e-6)
    assert pass_at_k(10, 3, 5) == pytest.approx(0.916667, abs=1e-6)
    assert pass_at_k(4, 3, 2) == 1
    assert pass_at_k(4, 0, 2) == 0
    assert pass_at_k(8, 2, 1) == pytest.approx(0.25)


def test_errors_by_hand():
    assert mean_and_error([0.0, 0.5, 1.0]) == (0.5, pytest.approx(0.5 / math.sqrt(3)))
    assert sampling_error([[0, 1], [0, 1]]) == pytest.approx(math.sqrt(0.25 + 0.25) / 2)
    assert sampling_error([[1, 1], [0, 0]]) == 0
    gain, error = paired_gain({"a": 0.0, "b": 0.5, "c": 1.0}, {"a": 0.5, "b": 1.0, "d": 0.0})
    assert (gain, error) == (0.5, 0.0)


def answers_of(prompt):
    return {"0": ["0", "0", "answer: 0", "x"], "1": ["1", "broken", "x", "x"], "2": ["broken"] * 4}[prompt.reference]


async def test_metrics_by_hand(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 4, "pass_k": [1, 4]}
    evals, _, log = make_evals(config, answers_of)
    metrics = await evals.run_if_first(0)
    means = [2 / 4, 1 / 3]  # one unscored sample is masked; the prompt without any score drops out
    assert metrics["eval/s/avg@4"] == pytest.approx(sum(means) / 2)
    assert metrics["eval/s/se@4"] == pytest.approx((means[0] - means[1]) / 2)
    assert metrics["eval/s/lenient/avg@4"] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert metrics["eval/s/error_rate"] == pytest.approx(5 / 12)
    assert metrics["eval/s/pass@1"] == pytest.approx(sum(means) / 2)
    assert metrics["eval/s/pass@4"] == 1  # only the first prompt has four scored samples
    assert metrics["eval/s/response_length"] == 2
    assert metrics["eval/s/truncated_rate"] == 0
    assert "eval/s/gain@4" not in metrics
    assert log.shown[-1] == ("evaluating s", 3, 3)


async def test_every_response_is_kept(source):
    evals, _, log = make_evals({"suite": "s", "source": source}, answers_of)
    await evals.run_if_first(0)
    rows = log.rows["s", 0]
    assert [row["reference"] for row in rows] == ["0", "1", "2"]
    assert [r["text"] for r in rows[0]["responses"]] == ["0", "0", "answer: 0", "x"]
    assert rows[0]["responses"][2]["scores"] == {"boxed": 0.0, "lenient": 1.0}
    assert rows[2]["responses"][0]["scores"] == {"boxed": None, "lenient": None}


async def test_a_resumed_run_pairs_with_the_first_evaluation(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 2, "every_steps": 5}
    before, sampler, _ = make_evals(config, lambda p: [p.reference if p.reference == "0" else "x", "x"])
    await before.run_if_first(0)
    after, resumed, _ = make_evals(config, lambda p: [p.reference, "x"])
    after.load(json.loads(json.dumps(before.state())))
    assert await after.run_if_first(5) == {}
    metrics = await after.run_if_due(5)
    assert metrics["eval/s/gain@2"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert metrics["eval/s/gain_se@2"] == pytest.approx(1 / 6)
    assert sorted(sampler.seeds) == sorted(resumed.seeds)


async def test_when_an_evaluation_is_due(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 1, "every_steps": 4, "first": False}
    evals, _, _ = make_evals(config, lambda p: ["x"])
    assert await evals.run_if_first(0) == {}
    assert [bool(await evals.run_if_due(step)) for step in range(1, 11)] == [
        step in (4, 8, 10) for step in range(1, 11)
    ]


async def sharpness(sampler, scorer, step):
    return {"eval/sharpness": step / 2}


def level(sampler, scorer, step):
    return {"eval/level": 3.0}


@pytest.mark.parametrize(("hook", "expected"), [("sharpness", {"eval/sharpness": 5.0}), ("level", {"eval/level": 3.0})])
async def test_a_hook_from_outside_may_be_sync_or_async(hook, expected):
    evals, _, _ = make_evals({"suite": "h", "hook": f"{__file__}:{hook}"}, None)
    assert await evals.run_if_due(10) == expected


def test_the_built_in_suite_is_dressed_and_cut():
    config = EvalConfig(suite="arithmetic", limit=5, params={"evaluated": False})
    prompts = suite_prompts(config)
    assert len({prompt.id for prompt in prompts}) == 5
    assert prompts == suite_prompts(config)
    assert [message["role"] for message in prompts[0].messages] == ["system", "user", "assistant", "user"]
    assert prompts[0].params == {"evaluated": False}


def test_sampling_is_the_suite_s_unless_the_config_has_its_own():
    assert suite_sampling(EvalConfig(suite="arithmetic")) == SamplingParams(max_tokens=32)
    own = SamplingParams(temperature=0.6, top_p=0.95, top_k=20)
    assert suite_sampling(EvalConfig(suite="arithmetic", sampling=own)) == own


def test_a_prompt_is_in_a_suite_once(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "1"}\n' * 2)
    with pytest.raises(ValueError, match="more than once"):
        suite_prompts(EvalConfig.model_validate({"suite": "s", "source": {"path": str(tmp_path / "a.jsonl")}}))


@pytest.mark.parametrize("bad", [{"suite": "nope"}, {"suite": "arithmetic", "samples_per_prompt": 2, "pass_k": [3]}])
def test_bad_configs_are_refused(bad):
    with pytest.raises(ValidationError, match=r"unknown suite|pass_k"):
        EvalConfig.model_validate(bad)
