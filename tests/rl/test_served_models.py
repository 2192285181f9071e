"""Models that Sharpen serves for a run: real vLLM servers that Ray places, asked by the scorer's actor."""

import asyncio
import os
import signal

import psutil
import pytest

from rewards.judge import JudgeConfig
from rewards.preference import PreferenceConfig
from rewards.scorer import ScorerConfig
from rewards.types import RewardRequest
from rl.cluster import RayConfig, ray_session
from rl.evals import judge_canaries
from rl.ray_scorer import open_scorer

pytestmark = pytest.mark.slow

CONFIG = ScorerConfig(
    judge=JudgeConfig(
        model="package:smollm2", serve=True, serve_options=["--max-model-len", "4096"], timeout_s=300, canaries=False
    ),
    preference=PreferenceConfig(
        model="package:smollm2-preference", serve=True, serve_options=["--max-model-len", "1024"], timeout_s=300
    ),
)
JUDGED = RewardRequest(
    task="reference_judge",
    question="Which city is the capital of Australia?",
    response="I would say that it is the city of Canberra.",
    reference="Canberra",
)
LIKED = RewardRequest(task="preference_open", question="How are you?", response="Very well, thank you.")


def servers() -> list[psutil.Process]:
    return [
        p for p in psutil.process_iter(["cmdline"]) if "vllm.entrypoints.openai.api_server" in (p.info["cmdline"] or [])
    ]


@pytest.mark.timeout(900)
async def test_models_are_served_for_the_length_of_a_run(tmp_path):
    async with ray_session(RayConfig(), num_cpus=2), open_scorer(CONFIG, tmp_path) as scorer:
        judged, liked = await scorer.score([JUDGED, LIKED])
        assert judged.status == "ok", judged.reason
        assert liked.status == "ok", liked.reason
        assert liked.components["logit"] != 0
        rates = await judge_canaries(None, scorer, 3)
        assert set(rates) == {
            f"canary/{name}_rate" for name in ("false_accept", "false_reject", "hostile_accept", "unscored")
        }
        assert rates["canary/unscored_rate"] < 1
        (victim,) = [
            p for p in servers() if "--runner" in p.info["cmdline"] and "rollout.model_server" not in p.info["cmdline"]
        ]
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.timeout(300):
            again = LIKED.model_copy(update={"response": "Not well at all."})
            while (result := (await scorer.score([again]))[0]).status != "ok":
                assert result.score is None
                await asyncio.sleep(1)
    assert not servers()
    assert {path.name for path in tmp_path.iterdir()} == {"judge.log", "preference.log"}
