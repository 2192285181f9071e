"""Which tasks a combined request asks, in which order, and what their failures do; with real workers at the end."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from rewards.combine import Combination
from rewards.expansion import score_combined
from rewards.judge import JudgeConfig
from rewards.preference import PreferenceConfig
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest, RewardResult
from tests.fakes import FakeModelServer, FakeTasks

FULL = {
    "veto": [{"task": "form"}, {"task": "language", "reference": "en", "params": {"part": "both"}, "min": 0.9}],
    "judge": {"task": "judge"},
    "preference": {"task": "liked", "weight": 0.3, "std": 2.0},
    "penalties": {"loops": 0.5},
}
REQUEST = RewardRequest(task="t", response="r", reference=7, params={"extract": "boxed"}, id="x")
FIRST = {"form", "language", "t", "loops"}
LIKED = RewardResult(score=0.7, components={"logit": 2.0}, reason="a logit")


def tasks(**results) -> FakeTasks:
    return FakeTasks(**({"form": 1.0, "language": 1.0, "t": 1.0, "judge": 1.0, "liked": LIKED, "loops": 1.0} | results))


def failed(status="error") -> RewardResult:
    return RewardResult(score=None, status=status, reason="it is down")


async def score(known: FakeTasks, request: RewardRequest = REQUEST, **changes) -> RewardResult:
    return await score_combined(request, {"t": Combination.model_validate(FULL | changes)}, known)


async def test_what_the_rule_accepts_is_preferred_and_not_judged():
    known = tasks(t=RewardResult(score=1, components={"inner": 0.5}, extracted="7", reason="equal"), loops=0.8)
    result = await score(known)
    assert known.rounds == [FIRST, {"liked"}]
    assert result.score == pytest.approx(1 + 0.3 - 0.1)
    assert result.components == {
        "veto/form": 1,
        "veto/language": 1,
        "rule": 1,
        "rule/inner": 0.5,
        "preference": 2.0,
        "penalty/loops": pytest.approx(-0.2),
    }
    assert (result.id, result.status, result.extracted, result.verifier) == ("x", "ok", "7", "combination")
    assert result.version == "form 1, language 1, t 1, loops 1, liked 1"
    assert result.reason == "rule: equal; preference: a logit; penalty/loops: by loops"


async def test_what_the_rule_refuses_is_judged_and_preferred_only_where_it_is_right():
    known = tasks(t=0.0)
    result = await score(known)
    assert known.rounds == [FIRST, {"judge"}, {"liked"}]
    assert (result.score, result.components["judge"]) == (pytest.approx(1.3), 1)
    known = tasks(t=0.0, judge=0.0)
    result = await score(known)
    assert known.rounds == [FIRST, {"judge"}]
    assert (result.score, result.components["judge"]) == (0, 0)


async def test_after_a_veto_nothing_more_is_asked():
    known = tasks(language=0.89)
    result = await score(known)
    assert known.rounds == [FIRST]
    assert (result.score, result.reason) == (0, "veto/language: by language")
    assert result.components["rule"] == 1, "what is known is kept"


async def test_what_the_prompt_holds_of_the_response_is_told_to_every_part():
    known = tasks(t=0.0)
    await score(known, REQUEST.model_copy(update={"params": {"extract": "boxed", "think_block": "closed"}}))
    asked = {request.task: request.params for request in known.requests}
    assert asked.pop("t") == {"extract": "boxed", "think_block": "closed"}
    assert asked.pop("language") == {"part": "both", "think_block": "closed"}
    assert set(asked) == {"form", "judge", "liked", "loops"}
    assert all(params == {"think_block": "closed"} for params in asked.values())
    known = tasks()
    mine = [{"task": "form", "params": {"think_block": "open"}}]
    await score(known, REQUEST.model_copy(update={"params": {"think_block": "closed"}}), veto=mine)
    (form,) = [request for request in known.requests if request.task == "form"]
    assert form.params == {"think_block": "open"}, "what the config says of a part rules"


async def test_each_part_has_its_own_reference_and_params():
    known = tasks(t=0.0)
    await score(known)
    asked = {
        request.task: (request.reference, request.params, request.id, request.response) for request in known.requests
    }
    assert asked["language"] == ("en", {"part": "both"}, "x", "r")
    assert asked["form"] == asked["loops"] == (None, {}, "x", "r")
    assert asked["judge"] == (7, {}, "x", "r")
    assert asked["t"] == (7, {"extract": "boxed"}, "x", "r")


@pytest.mark.parametrize("status", ["error", "timeout", "unscorable"])
@pytest.mark.parametrize(
    ("fails", "others", "component"),
    [
        ("t", {}, "rule"),
        ("form", {}, "veto/form"),
        ("loops", {}, "penalty/loops"),
        ("judge", {"t": 0.0}, "judge"),
        ("liked", {}, "preference"),
    ],
)
async def test_a_failure_that_matters_has_no_score_and_names_the_component(fails, others, component, status):
    known = tasks(**(others | {fails: failed(status)}))
    result = await score(known)
    assert (result.score, result.status, result.reason) == (None, status, f"{component}: it is down")
    assert result.components["veto/language"] == 1, "what is known is kept"
    assert len(known.rounds) == 1 + (fails in ("judge", "liked")), "and nothing is asked in vain"


@pytest.mark.parametrize(
    ("known", "value"),
    [
        (tasks(form=0.0, t=failed()), 0),
        (tasks(form=0.0, language=failed()), 0),
        (tasks(t=1.0, judge=failed()), 1.3),
        (tasks(t=0.0, judge=0.0, liked=failed()), 0),
    ],
)
async def test_a_failure_that_does_not_matter_is_none(known, value):
    assert (await score(known)).score == pytest.approx(value)


async def test_an_answer_that_the_preference_task_refuses_is_liked_least():
    result = await score(tasks(liked=0.0))
    assert (result.score, result.components["preference/refused"]) == (pytest.approx(0.1), 1)


async def test_a_preference_without_a_logit_is_an_error():
    result = await score(tasks(liked=0.5))
    assert (result.status, result.reason) == ("error", "preference: the task gave no component logit")


async def test_scores_between_the_steps_of_the_rule_are_an_error():
    result = await score(tasks(t=0.6))
    assert (result.score, result.status) == (None, "error")
    assert result.reason.startswith("rule: the score 0.6 is no multiple of rule.gap 1")


async def test_open_tasks_ask_all_at_once():
    known = tasks()
    result = await score(known, rule=None, judge=None, penalties={})
    assert known.rounds == [{"form", "language"}, {"liked"}]
    assert result.score == pytest.approx(0.3)


async def test_another_task_or_a_request_for_the_task_alone_is_not_combined():
    known = tasks(other=0.5)
    assert (await score(known, REQUEST.model_copy(update={"task": "other"}))).score == 0.5
    alone = REQUEST.model_copy(update={"params": {"combine": False, "extract": "lenient"}})
    assert (await score(known, alone)).components == {}
    assert [(request.task, request.params) for request in known.requests] == [
        ("other", {"extract": "boxed"}),
        ("t", {"extract": "lenient"}),
    ]
    odd = await score(known, REQUEST.model_copy(update={"params": {"combine": "no"}}))
    assert (odd.status, odd.reason) == ("error", "params.combine: 'no' is neither true nor false")


@pytest.mark.parametrize(
    ("combine", "error"),
    [
        ({"maths": {}}, "combine.maths: unknown task 'maths'; did you mean 'math'?"),
        ({"math": {"judge": {"task": "reference_juge"}}}, "combine.math.judge.task: .*did you mean 'reference_judge'?"),
        ({"math": {"veto": [{"task": "think_fromat"}]}}, "combine.math.veto.0.task: .*did you mean 'think_format'?"),
        (
            {"math": {"penalties": {"repetitions": 1}}},
            "combine.math.penalties.repetitions: .*mean 'repetition'",
        ),
    ],
)
def test_unknown_tasks_are_refused_at_load(combine, error):
    with pytest.raises(ValidationError, match=error):
        ScorerConfig.model_validate({"combine": combine})


COMBINE = {
    "math": {
        "judge": {"task": "reference_judge"},
        "preference": {"task": "preference_open", "weight": 0.3, "std": 2.0},
        "penalties": {"repetition": 0.5},
    }
}


async def test_real_workers_and_models():
    with FakeModelServer() as judge, FakeModelServer(logit=1.0) as preference:
        config = ScorerConfig.model_validate(
            {
                "judge": JudgeConfig(url=f"{judge.url}/v1", model="j", canaries=False, max_retries=0),
                "preference": PreferenceConfig(url=preference.url, max_retries=0),
                "combine": COMBINE,
            }
        )
        async with Scorer(config) as scorer:
            texts = ["\\boxed{7}", "It is seven.", "", "\\boxed{7}" + " wait" * 1_000, "x" * 1_000_001]
            asked = [RewardRequest(task="math", question="3 + 4?", response=text, reference=7) for text in texts]
            right, judged, empty, loop, huge = await scorer.score(asked)
            judge.script[:] = ["500"]
            (lost,) = await scorer.score([asked[1].model_copy(update={"response": "Certainly seven it is."})])
        assert right.score == pytest.approx(1 + 0.3 * 0.5)
        assert judged.score == right.score, "what the judge accepts is right"
        assert judged.components == {"rule": 0, "judge": 1, "preference": 1, "penalty/repetition": 0}
        assert (empty.score, empty.components["judge"]) == (0, 0)
        assert right.score - loop.score > 0.4
        assert (huge.score, huge.status) == (-0.5, "ok")
        assert (lost.score, lost.status) == (None, "error")
        assert lost.reason.startswith("judge: the judge")
        assert (len(judge.requests), len(preference.requests)) == (2, 3), "only where the rule does not decide"


def test_the_command_combines(tmp_path):
    path = tmp_path / "combine.yaml"
    path.write_text("exact: {veto: [{task: think_format}]}\n")
    request = {"task": "exact", "question": "Lake or sea?", "reference": "sea"}
    lines = [request | {"response": text} for text in ("<think>Hm.</think>sea", "sea")]
    command = [sys.executable, "-m", "rl.cli", "rewards", "score", "--workers", "1", "--combine", str(path)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    answer = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    results = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(each["score"], each["components"]["rule"]) for each in results] == [(1, 1), (0, 1)], answer.stderr
