"""A reward model as a user trains it: held-out pairs, a resume, and the folder behind vLLM's pooling runner."""

from pathlib import Path

import pytest

from rewards.calls import PreferenceCall
from rewards.preference import PreferenceConfig, open_preference
from rl.checkpoint import latest_step
from rl.log import deterministic, read_metrics
from rollout.model_server import vllm_server
from tests.commands import finish, kill_and_resume, start_run

pytestmark = pytest.mark.slow

SMOKE = "configs/smoke/reward_model.yaml"
ARGUMENTS = ["--enforce-eager", "--dtype", "float32", "--max-num-seqs", "8"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    finish(start_run(SMOKE, folder, "num_steps=6", "log.name=whole", "learner.num_ranks=2"))
    return folder / "whole"


def test_it_learns_to_tell_held_out_pairs_apart(whole):
    rows = read_metrics(whole)
    assert rows[6]["loss/pairwise"] < rows[1]["loss/pairwise"]
    assert rows[6]["eval/pairs/pair_accuracy"] > 0.9
    assert -1 <= rows[6]["eval/pairs/length_correlation"] <= 1


def test_a_run_killed_and_resumed_is_the_same_run(whole, tmp_path):
    cut = kill_and_resume(SMOKE, tmp_path, 3, 6, "learner.num_ranks=2")
    ours, theirs = (
        [{k: v for k, v in deterministic(row).items() if not k.startswith("eval/")} for row in read_metrics(folder)]
        for folder in (cut, whole)
    )
    assert ours == theirs


async def test_vllm_serves_what_was_trained(whole, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = whole / "checkpoints" / f"step-{latest_step(whole / 'checkpoints')}" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    answers = ["It is 12.", "I do not know."]
    asked = [[{"role": "user", "content": "What is 5 + 7?"}, {"role": "assistant", "content": a}] for a in answers]
    with torch.inference_mode():
        own = [
            model(input_ids=torch.tensor([tokenizer.apply_chat_template(m, return_dict=False)])).logits.item()
            for m in asked
        ]
    arguments = [*PreferenceConfig(url="http://127.0.0.1").vllm_arguments(), *ARGUMENTS]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log_file = tmp_path / "server.log"
    async with vllm_server(str(folder), arguments, log_file=log_file, environment=environment) as server:
        endpoint = open_preference(PreferenceConfig(url=server.url, timeout_s=300))
        served = [await endpoint.answer(PreferenceCall(messages=messages)) for messages in asked]
        await endpoint.stop()
    assert served == pytest.approx(own, abs=1e-3)
    assert served[0] > served[1]
