"""verl's SFT trainer from its own command line, on two CPU ranks: our engine beside its FSDP, killed and resumed."""

import functools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 200  # one takes 15 s
NUM_STEPS, SAVE_EVERY = 12, 4
STAGES = (0, 1, 2, 3)
COMPARED = ("train/loss", "train/grad_norm", "train/lr", "train/global_tokens", "val/loss")
# Five batches an epoch: no checkpoint lies at an epoch's end, after which verl's resume leaves an epoch's data out.
TRAINER = [
    "data.train_batch_size=8",
    "data.max_token_len_per_gpu=256",
    "data.max_length=256",
    "data.ignore_input_ids_mismatch=true",  # Qwen3's template adds a think block to the last turn alone
    "data.num_workers=0",
    "optim.lr=2e-3",
    "optim.lr_scheduler_type=cosine",
    "optim.lr_warmup_steps=2",
    "trainer.device=cpu",
    "trainer.logger=[console,file]",
    f"trainer.total_training_steps={NUM_STEPS}",
    f"trainer.save_freq={SAVE_EVERY}",
    f"trainer.test_freq={SAVE_EVERY}",
]
DEEPSPEED = [
    "engine._target_=rl.verl_config.DeepSpeedEngineConfig",
    "engine.strategy=deepspeed",
    "engine.dtype=float32",
]
FSDP = [
    "engine.strategy=fsdp2",
    "engine.use_torch_compile=false",
    "+engine.mixed_precision={param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}",
    "model.use_remove_padding=false",
    "+model.override_config.attn_implementation=sdpa",
]
# verl's FSDP engine is registered for GPUs, and wants a value head of TRL that our version has no more.
WITHOUT_TRL = "from verl.utils import import_utils\nimport_utils.is_trl_available = lambda: False\n"
FSDP_ENVIRONMENT = {"VERL_ENGINE_DEVICE": "cuda", "VERL_USE_EXTERNAL_MODULES": "without_trl,rl.verl_plugin"}


def conversation(draw: random.Random) -> list[dict[str, str]]:
    """A sum, and in every other one a second turn."""
    a, b, c = (draw.randint(0, 99) for _ in range(3))
    said = [f"What is {a} plus {b}?", f"{a} + {b} = {a + b}"]
    if draw.random() < 0.5:
        said += [f"And plus {c}?", f"{a + b} + {c} = {a + b + c}"]
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Both parquet files, and what verl's FSDP engine needs on a CPU."""
    out, draw = tmp_path_factory.mktemp("sft"), random.Random(0)
    for name, rows in (("train", 40), ("val", 16)):
        pd.DataFrame({"messages": [conversation(draw) for _ in range(rows)]}).to_parquet(out / f"{name}.parquet")
    (out / "without_trl.py").write_text(WITHOUT_TRL)
    return out


def start(model: str, folder: Path, name: str, engine: list[str], log: str, **environment: str) -> subprocess.Popen:
    """torchrun with verl's trainer; checkpoints lie in FOLDER/NAME, metrics in FOLDER/LOG.jsonl."""
    shared = {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "rl.verl_plugin", "CUDA_VISIBLE_DEVICES": ""}
    shared |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "VERL_FILE_LOGGER_PATH": str(folder / f"{log}.jsonl")}
    files = [f"data.{part}_files={folder}/{part}.parquet" for part in ("train", "val")]
    places = [f"model.path={model}", *files, f"trainer.default_local_dir={folder / name}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "-m", "verl.trainer.sft_trainer", *places, *TRAINER, *engine]
    with (folder / f"{log}.txt").open("w") as output:
        return subprocess.Popen(
            command, env=os.environ | shared | environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )


def stop(process: subprocess.Popen) -> None:
    """torchrun and its ranks, which have sessions of their own."""
    if process.poll() is None:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
        process.wait(timeout=30)


def metrics(folder: Path, log: str) -> dict[int, dict[str, float]]:
    """What verl logged of each step, of what does not depend on the machine."""
    seen: dict[int, dict[str, float]] = {}
    for line in (folder / f"{log}.jsonl").read_text().splitlines():
        row = json.loads(line)
        seen.setdefault(row["step"], {}).update({k: v for k, v in row["data"].items() if k in COMPARED})
    return seen


def run(model: str, folder: Path, name: str, engine: list[str], log: str = "", **environment: str) -> dict:
    log = log or name
    process = start(model, folder, name, engine, log, **environment)
    try:
        code = process.wait(timeout=RUN_LIMIT_S)
    finally:
        stop(process)
    assert code == 0, (folder / f"{log}.txt").read_text()[-3000:]
    return metrics(folder, log)


def zero(stage: int) -> list[str]:
    return [*DEEPSPEED, f"+engine.zero_stage={stage}"]


@pytest.fixture(scope="module")
def whole(tiny_model, folder) -> Callable[[str], dict]:
    """The metrics of a run in one go, by verl's engine `fsdp` or by ours as `zeroSTAGE`; each is run once."""

    @functools.cache
    def run_whole(name: str) -> dict:
        if name == "fsdp":
            return run(tiny_model, folder, name, FSDP, **FSDP_ENVIRONMENT)
        return run(tiny_model, folder, name, zero(int(name[-1])))

    return run_whole


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_whole_run_against_verls_fsdp(whole, stage):
    mine, theirs = whole(f"zero{stage}"), whole("fsdp")
    assert list(mine) == list(theirs) == list(range(1, NUM_STEPS + 1))
    assert [step for step, seen in mine.items() if "val/loss" in seen] == [4, 8, 12]
    for step, expected in theirs.items():
        assert mine[step].keys() == expected.keys()
        for name, value in expected.items():
            tolerance = {"rel": 1e-4} if name == "train/grad_norm" else {"abs": 1e-5, "rel": 0}
            assert mine[step][name] == pytest.approx(value, **tolerance), (step, name)
    assert mine[NUM_STEPS]["train/loss"] < 0.6 * mine[1]["train/loss"]
    assert mine[12]["val/loss"] < mine[8]["val/loss"] < mine[4]["val/loss"]


def kill_a_rank(process: subprocess.Popen, tracker: Path) -> None:
    """Rank 1, once there is a checkpoint."""
    end = time.monotonic() + RUN_LIMIT_S
    while not tracker.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert tracker.exists(), "no checkpoint was saved"
    ranks = {child.environ().get("RANK"): child for child in psutil.Process(process.pid).children()}
    ranks["1"].kill()


def weights(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((checkpoint / "model").glob("*.safetensors"))}


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(whole, tiny_model, folder):
    """The same command again, by verl's `resume_mode: auto`: metrics and weights are the whole run's to the bit."""
    after = whole("zero3")
    process = start(tiny_model, folder, "killed", zero(3), "killed")
    try:
        kill_a_rank(process, folder / "killed" / "latest_checkpointed_iteration.txt")
        assert process.wait(timeout=RUN_LIMIT_S) != 0
    finally:
        stop(process)
    assert max(metrics(folder, "killed")) < NUM_STEPS
    resumed = run(tiny_model, folder, "killed", zero(3), log="resumed")
    saved = min(resumed) - 1
    assert saved in (4, 8)
    before = metrics(folder, "killed")
    assert {step: before[step] for step in range(1, saved + 1)} | resumed == after
    ended, expected = (weights(folder / name / f"global_step_{NUM_STEPS}") for name in ("killed", "zero3"))
    assert ended == expected
    assert ended
