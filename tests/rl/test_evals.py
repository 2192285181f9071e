"""Evaluations: numbers by hand, unscored samples masked, and gains paired with the first run."""

import dataclasses
import json
import math

import pytest
from pydantic import ValidationError

from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardResult
from rl.eval_rows import make_row, response_metrics
from rl.evals import EvalConfig, Evals, suite_prompts
from rollout.types import Episode, SamplingParams
from tests.fakes import FakeEvalLog, FakeSampler, FakeScorer, make_group


@pytest.fixture
def source(tmp_path):
    rows = [{"question": f"q{n}", "reference": str(n)} for n in range(3)]
    (tmp_path / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(tmp_path / "suite.jsonl")}


def make_evals(config, answers, num_steps=10, seed=1):
    configs = [EvalConfig.model_validate(config)]
    sampler, log = FakeSampler(answers), FakeEvalLog()
    return Evals(configs, sampler, FakeScorer(), log, seed=seed, num_steps=num_steps), sampler, log


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
    assert metrics["eval/s/cons@4"] == pytest.approx(1 / 2)  # the second prompt's most frequent answer is x
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
    assert rows[0]["responses"][2]["extracted"] == {"boxed": "answer: 0", "lenient": "0"}
    assert rows[2]["responses"][0]["scores"] == {"boxed": None, "lenient": None}
    assert "thinking_cut" not in rows[0]["responses"][0], "there is no budget"


def test_a_row_has_the_turns_of_an_episode_but_no_state_that_a_file_cannot_hold():
    observation = {"role": "tool", "content": "4", "tool": "add", "error": False, "reward": 1.0, "state": object()}
    messages = ({"role": "assistant", "content": "add 2 2"}, observation)
    group = make_group(["add 2 2"])
    sample = dataclasses.replace(group.samples[0], episode=Episode(messages=messages))
    row = make_row(dataclasses.replace(group, samples=(sample,)), {"whole": [RewardResult(score=1.0)]})
    (response,) = json.loads(json.dumps(row))["responses"]
    del observation["state"]
    assert response["episode"] == list(messages)
    assert response_metrics("s", [row])["eval/s/response_length"] == 2


async def test_a_row_is_kept_as_soon_as_its_prompt_is_judged(source):
    """The scorer is lost at the second prompt: what the others were answered is there."""
    evals, _, log = make_evals({"suite": "s", "source": source, "samples_per_prompt": 1}, lambda p: ["lost"])
    evals.sampler.answers = lambda p: ["lost" if p.reference == "1" else p.reference]
    with pytest.raises(ConnectionError):
        await evals.run_if_first(0)
    assert [(row["reference"], row["responses"][0]["text"]) for row in log.rows["s", 0]] == [("0", "0"), ("2", "2")]


async def test_an_evaluation_that_was_cut_off_asks_only_for_what_is_missing(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 4, "pass_k": [1, 4]}
    whole, all_seeds, whole_log = make_evals(config, answers_of)
    metrics = await whole.run_if_first(0)
    first, second, third = whole_log.rows["s", 0]
    unjudged = json.loads(json.dumps(third))
    del unjudged["responses"][3]
    cut, sampler, log = make_evals(config, answers_of)
    cut.goes_on = True
    log.rows["s", 0] = json.loads(json.dumps([second, unjudged, {"id": "of another suite"}]))
    assert await cut.run_if_first(0) == metrics
    assert log.rows["s", 0] == [first, second, third], "in the order of the prompts"
    assert sorted(sampler.seeds) == sorted(pair for pair in all_seeds.seeds if pair[0] != second["id"])
    assert log.messages == ["s: 1 prompts were evaluated before, and are not sampled again"]


async def test_an_evaluation_in_training_keeps_nothing_of_an_earlier_one(source):
    evals, sampler, log = make_evals({"suite": "s", "source": source, "samples_per_prompt": 1}, lambda p: ["x"])
    await evals.run_if_first(0)
    await evals.run_if_first(0)
    assert len(sampler.seeds) == 6
    assert len(log.rows["s", 0]) == 3


async def test_gains_begin_anew_where_a_resume_changes_how_a_suite_is_asked(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 1, "every_steps": 5}
    before, _, _ = make_evals(config, lambda p: ["x"])
    await before.run_if_first(0)
    after, _, log = make_evals(config | {"sampling": {"max_tokens": 77}}, lambda p: [p.reference])
    after.load(json.loads(json.dumps(before.state())))
    assert "eval/s/gain@1" not in await after.run_if_due(5)
    assert any("its settings changed since its first evaluation" in message for message in log.messages)
    assert (await after.run_if_due(10))["eval/s/gain@1"] == 0
    same, _, _ = make_evals(config | {"every_steps": 1, "pass_k": [1]}, lambda p: [p.reference])
    same.load(json.loads(json.dumps(before.state())))
    assert (await same.run_if_due(5))["eval/s/gain@1"] > 0, "when it is asked changes no number"


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


def right(*counts):
    """Answers to the suite's three prompts, of four samples so many right."""
    return lambda prompt: [*[prompt.reference] * (count := counts[int(prompt.reference)]), *["x"] * (4 - count)]


@pytest.mark.parametrize(
    ("later", "is_fallen"),
    [
        ([2, 3, 2], True),  # -2/4, -1/4, -2/4: 5/12 with an error of 1/12
        ([4, 4, 0], False),  # one prompt alone: 1/3 with an error of 1/3
        ([4, 4, 4], False),
        ([3, 3, 3], True),  # all alike, and no error
    ],
)
async def test_a_suite_that_fell_by_more_than_two_errors_is_counted_and_named(source, later, is_fallen):
    config = {"suite": "s", "source": source, "samples_per_prompt": 4, "every_steps": 5}
    steady = config | {"suite": "steady"}
    sampler, log = FakeSampler(right(4, 4, 4)), FakeEvalLog()
    evals = Evals(
        [EvalConfig.model_validate(each) for each in (config, steady)], sampler, FakeScorer(), log, seed=1, num_steps=10
    )
    assert "eval/fallen" not in await evals.run_if_first(0)
    sampler.answers = right(*later)
    first = evals.state()["first"]
    nothing = first["steady"] | {"means": dict.fromkeys(first["steady"]["means"], 0.0)}
    evals.load({"first": first | {"steady": nothing}})  # it can only have gained
    metrics = await evals.run_if_due(5)
    assert metrics["eval/fallen"] == is_fallen
    gain, error = metrics["eval/s/gain@4"], metrics["eval/s/gain_se@4"]
    named = [f"step 5: fallen since the first evaluation: s {gain:+.3f} ± {error:.3f}"]
    assert log.messages == named * is_fallen


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
    assert EvalConfig(suite="arithmetic").sampling == SamplingParams(max_tokens=32)
    own = SamplingParams(temperature=0.6, top_p=0.95, top_k=20)
    assert EvalConfig(suite="arithmetic", sampling=own).sampling == own


def test_a_prompt_is_in_a_suite_once(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "1"}\n' * 2)
    with pytest.raises(ValueError, match="more than once"):
        suite_prompts(EvalConfig.model_validate({"suite": "s", "source": {"path": str(tmp_path / "a.jsonl")}}))


@pytest.mark.parametrize("bad", [{"suite": "nope"}, {"suite": "arithmetic", "samples_per_prompt": 2, "pass_k": [3]}])
def test_bad_configs_are_refused(bad):
    with pytest.raises(ValidationError, match=r"unknown suite|pass_k"):
        EvalConfig.model_validate(bad)


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


async def test_a_later_suite_starts_its_own_pairs(source):
    """A resume may add a suite: it has no first results in the checkpoint, and makes them itself."""
    config = {"suite": "s", "source": source, "samples_per_prompt": 1, "every_steps": 1}
    evals, _, _ = make_evals(config, lambda p: ["x"])
    evals.load({"first": {"other": {}}})
    assert "eval/s/gain@1" not in await evals.run_if_due(5)
    assert (await evals.run_if_due(6))["eval/s/gain@1"] == 0


async def test_the_same_seeds_at_every_evaluation(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 1, "every_steps": 1}
    evals, sampler, _ = make_evals(config, lambda p: ["x"])
    await evals.run_if_first(0)
    first = sampler.seeds.copy()
    await evals.run_if_due(1)
    assert sampler.seeds == first + first
    assert len({seed for _, seed in first}) == 3


async def test_the_parsers_are_those_of_the_config(source):
    config = {"suite": "s", "source": source, "samples_per_prompt": 1, "extracts": ["lenient"]}
    evals, _, _ = make_evals(config, lambda p: [f"answer: {p.reference}"])
    metrics = await evals.run_if_first(0)
    assert metrics["eval/s/avg@1"] == 1
    assert not [name for name in metrics if "boxed" in name or "lenient" in name]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"pass_k": [0]}, "pass_k must be from 1"),
        ({"options": {"add_upto": 3}}, "options of suite arithmetic: .*add_upto"),
    ],
)
def test_faults_are_found_before_anything_starts(extra, message):
    with pytest.raises(ValidationError, match=message):
        EvalConfig.model_validate({"suite": "arithmetic"} | extra)


async def test_a_budget_curve_is_the_suite_once_under_each_budget(source):
    asked = []

    def answers(prompt):
        asked.append((prompt.thinking_budget, prompt.thinking))
        return [prompt.reference if prompt.thinking_budget == 128 else "x", "x"]

    config = {
        "suite": "s",
        "source": source,
        "samples_per_prompt": 2,
        "mode": "thinking",
        "thinking_budgets": [64, 128],
    }
    evals, sampler, log = make_evals(config, answers)
    metrics = await evals.run_if_first(0)
    assert asked == [(64, True)] * 3 + [(128, True)] * 3
    assert sampler.seeds[:3] == sampler.seeds[3:], "each budget with the same seeds"
    assert metrics["eval/s/budget-64/avg@2"] == 0
    assert metrics["eval/s/budget-128/avg@2"] == 0.5
    assert metrics["eval/s/budget-128/lenient/avg@2"] == 0.5
    assert metrics["eval/s/budget-64/thinking_cut_rate"] == 0
    assert "eval/s/avg@2" not in metrics
    assert sorted(log.rows) == [("s/budget-128", 0), ("s/budget-64", 0)]
    later = await evals.run_if_due(10)
    assert later["eval/s/budget-128/gain@2"] == 0  # paired with its own first run


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"thinking_budgets": [8, 8]}, "must differ"),
        ({"thinking_budgets": [0]}, "greater than 0"),
        ({"thinking_budgets": [8], "mode": "non-thinking"}, "a suite that thinks"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(fields, why):
    with pytest.raises(ValidationError, match=why):
        EvalConfig.model_validate({"suite": "arithmetic", **fields})


async def test_aime_is_a_hook_of_training(tmp_path):
    """Every ten steps, with the curve of pass@k, gains paired with the first evaluation, and both parsers."""
    path = tmp_path / "aime.jsonl"
    path.write_text("".join(json.dumps({"problem": f"q{n}", "answer": f"00{n}"}) + "\n" for n in range(3)))
    config = {"suite": "aime24", "path": str(path), "samples_per_prompt": 4, "every_steps": 10}
    know = ["0"]
    evals, _, log = make_evals(config, lambda p: [p.reference if p.reference in know else "x"] * 2 + ["y", "z"], 30)
    before = await evals.run_if_first(0)
    assert {name for name in before if "pass@" in name and "lenient" not in name} == {
        "eval/aime24/pass@1", "eval/aime24/pass@2", "eval/aime24/pass@4",
    }  # fmt: skip
    know.append("1")
    assert await evals.run_if_due(9) == {}
    after = await evals.run_if_due(10)
    assert (before["eval/aime24/avg@4"], after["eval/aime24/avg@4"]) == pytest.approx((1 / 6, 1 / 3))
    assert after["eval/aime24/gain@4"] == pytest.approx(1 / 6)
    assert after["eval/aime24/pass@2"] == pytest.approx((5 / 6 + 5 / 6) / 3)
    assert after["eval/aime24/cons@4"] == pytest.approx(2 / 3)
    assert after["eval/aime24/num_prompts"] == 3
    assert len(log.rows["aime24", 10][0]["responses"]) == 4


async def test_a_parser_is_parameters_of_the_suite_s_reward(tmp_path):
    row = {"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    config = EvalConfig.model_validate({"suite": "ifeval", "path": str(tmp_path / "a.jsonl"), "samples_per_prompt": 2})
    scorer = FakeScorer()
    evals = Evals([config], FakeSampler(lambda p: ["It.", "It."]), scorer, FakeEvalLog(), seed=0, num_steps=1)
    metrics = await evals.run_if_first(0)
    strict, loose = ({"mode": mode, "combine": False, "think_block": "none"} for mode in ("strict", "loose"))
    assert [request.params for request in scorer.requests] == [strict, strict, loose, loose]
    assert (metrics["eval/ifeval/avg@2"], metrics["eval/ifeval/loose/avg@2"]) == (0, 0)
    assert "eval/ifeval/cons@2" not in metrics, "whole texts are no votes"


async def test_instructions_are_counted_beside_prompts(tmp_path):
    """As lm-evaluation-harness counts: all instructions alike, whichever prompt they are of."""
    rows = [
        {"prompt": "one", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {
            "prompt": "three",
            "instruction_id_list": ["punctuation:no_comma", "startend:quotation", "change_case:english_lowercase"],
            "kwargs": [{}, {}, {}],
        },
        {"prompt": "none", "instruction_id_list": ["punctuation:no_comma"] * 2, "kwargs": [{}, {}]},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = EvalConfig.model_validate({"suite": "ifeval", "path": str(tmp_path / "a.jsonl")})
    answers = {"one": "It is.", "three": 'sure, here:\n"it is so, and so."', "none": ""}
    log = FakeEvalLog()
    async with Scorer(ScorerConfig(num_workers=1)) as scorer:
        sampler = FakeSampler(lambda p: [answers[p.messages[-1]["content"]]])
        metrics = await Evals([config], sampler, scorer, log, seed=0, num_steps=1).run_if_first(0)
    assert log.rows["ifeval", 0][1]["responses"][0]["components"] == {
        "strict/punctuation:no_comma": 0.0,
        "strict/startend:quotation": 0.0,
        "strict/change_case:english_lowercase": 1.0,
        "loose/punctuation:no_comma": 0.0,
        "loose/startend:quotation": 1.0,
        "loose/change_case:english_lowercase": 1.0,
    }
    assert metrics["eval/ifeval/avg@1"] == metrics["eval/ifeval/loose/avg@1"] == pytest.approx(1 / 3)
    assert metrics["eval/ifeval/instruction_avg@1"] == pytest.approx((1 + 1 + 0) / 6)
    assert metrics["eval/ifeval/loose/instruction_avg@1"] == pytest.approx((1 + 2 + 0) / 6)
    errors = [1 - 1 / 3, 1 - 3 / 3, 0 - 2 / 3]
    assert metrics["eval/ifeval/instruction_se@1"] == pytest.approx(math.sqrt(sum(e * e for e in errors) * 3 / 2) / 6)
