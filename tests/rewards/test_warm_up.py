"""What the first response of a task finds in its worker: what takes long to load is there already."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rewards.registry import load_tasks
from rewards.scorer import Scorer, ScorerConfig
from rewards.types import RewardRequest
from rl.config_file import load_config

PLUGIN = str(Path(__file__).parent / "plugins.py")
SLOW = RewardRequest(task="slow_start", response="")
HEAVY = ("sympy", "math_verify", "pint", "lingua", "rouge_score", "reasoning_gym")


def config(**options) -> ScorerConfig:
    return ScorerConfig(timeout_s=1, memory_mib=256, plugins=[PLUGIN], **options)


@pytest.mark.parametrize("warm", [[], ["slow_start"]], ids=["at the first response", "at the start"])
async def test_loading_is_of_no_responses_time_or_memory(warm):
    async with Scorer(config(warm_up=warm)) as scorer:
        results = await scorer.score([SLOW] * 3)
        assert {(result.status, result.score) for result in results} == {("ok", 1.0)}, "loaded once, not in the limits"
        assert scorer.num_retries == 0


async def test_a_worker_that_replaces_another_is_as_warm():
    async with Scorer(config(recycle_after=2)) as scorer:
        first = (await scorer.score([SLOW]))[0]
        later = await scorer.score([SLOW] * 3)
    assert [result.score for result in later] == [1.0] * 3
    assert {result.reason for result in later} - {first.reason}, "the warm-up was its first task, of two"
    async with Scorer(config()) as scorer:
        hang = RewardRequest(task="breaks", response="os exit")
        results = await scorer.score([SLOW, hang, SLOW])
    assert [result.score for result in results] == [1.0, None, 1.0]


async def test_nothing_is_loaded_that_no_task_asked_for():
    async with Scorer(config(warm_up=["slow_start"])) as scorer:
        (before,) = await scorer.score([SLOW])
        await scorer.score([RewardRequest(task="math_numeric_unit", response="\\boxed{1 km}", reference="1000 m")])
        (after,) = await scorer.score([SLOW])
    assert before.components == {"sympy": 0, "lingua": 0, "pint": 0}
    assert after.components == {"sympy": 0, "lingua": 0, "pint": 1}


async def test_what_cannot_be_loaded_is_told_by_the_judgement_alone():
    requests = [RewardRequest(task=task, response="") for task in ("no_start", "deadly_start", "slow_start")]
    async with Scorer(config()) as scorer:
        results = await scorer.score(requests)
    assert [result.score for result in results] == [1.0, 1.0, 1.0]


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="warm_up: unknown task 'maths'; did you mean 'math'"):
        ScorerConfig(warm_up=["maths"])


def test_a_combined_task_is_warm_with_its_parts():
    combine = {"mcq": {"veto": ["language_consistency"], "penalties": {"length_control": 0.1}}}
    config = ScorerConfig.model_validate({"warm_up": ["mcq", "math"], "combine": combine})
    assert config.warm_tasks == ["math", "language_consistency"]


def test_a_run_warms_up_for_the_tasks_that_its_sources_name(tmp_path):
    path = tmp_path / "run.yaml"
    smoke = yaml.safe_load(Path("configs/smoke/grpo.yaml").read_text())
    smoke["prompts"]["sources"] = [{"generator": "rl.general:fact", "task": "translation"}]
    path.write_text(yaml.safe_dump(smoke))
    assert load_config(path, ["rewards.warm_up=[math]"]).warm_rewards.warm_up == ["math", "translation"]


def test_after_its_warm_up_no_task_imports_a_heavy_library():
    """Each in a fork of an interpreter that knows the tasks."""
    code = f"""
import os, sys
from rewards.registry import load_tasks
for name, task in load_tasks().items():
    if os.fork() == 0:
        if task.warm_up:
            task.warm_up()
        before = set(sys.modules)
        for case in task.cases:
            try:
                task.judge(task.request(case))
            except Exception:
                pass
        print(name, *(each for each in {HEAVY!r} if each in sys.modules and each not in before), flush=True)
        os._exit(0)
    os.wait()
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert {line[0] for line in lines} == {name for name, task in load_tasks().items() if task.is_ours}, answer.stderr
    # A fifth of a second, which few of its requests need: those that constrain the language.
    assert [line for line in lines if len(line) > 1] == [["ifeval", "lingua"]]
