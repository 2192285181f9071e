"""What verl's trainers have of ours: registries, configs and packed rows, and engines beside verl's FSDP."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rl.advantages import ADVANTAGES, make_advantage
from rl.losses import LossConfig, make_policy_loss
from rl.policy import load_policy
from tests.rl.test_parity_verl import MODES, random_batch, rows

importlib.import_module("rl.verl_plugin")
core_algos = importlib.import_module("verl.trainer.ppo.core_algos")
verl_config = importlib.import_module("rl.verl_config")
ROOT = Path(__file__).parents[2]
LOSSES = [
    ("grpo", {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": 1.5}, {"dual_clip": 1.5}),
    ("gspo", {"clip_ratio_low": 0.1, "clip_ratio_high": 0.2}, {"clip_low": 0.1, "clip_high": 0.2}),
    ("cispo", {"clip_ratio_low": 10.0, "clip_ratio_high": 0.2}, {"clip_high": 0.2}),
]


@pytest.mark.parametrize(("mode", "aggregation"), MODES)
@pytest.mark.parametrize(("name", "theirs", "mine"), LOSSES)
def test_a_loss_by_its_name_in_verl(name, theirs, mine, mode, aggregation):
    from verl.workers.config import ActorConfig

    given, counts = random_batch(4)
    settings = LossConfig(name=name, correction={"mode": "none"}, **mine, **aggregation)
    wanted, _ = make_policy_loss(settings)(given, counts)
    (wanted_gradient,) = torch.autograd.grad(wanted, given.learner_logprobs_N)
    info = {"dp_size": 2, "batch_num_tokens": counts.num_tokens, "global_batch_size": counts.num_sequences}
    info["loss_scale_factor"] = 16
    config = ActorConfig(strategy="fsdp", rollout_n=4, use_dynamic_bsz=True, global_batch_info=info, **theirs)
    own = rows(given.learner_logprobs_N.detach(), given.length_S).requires_grad_()
    mask = rows(torch.ones(counts.num_tokens), given.length_S).bool()
    loss, metrics = core_algos.get_policy_loss_fn(f"sharpen_{name}")(
        old_log_prob=rows(given.start_logprobs_N, given.length_S),
        log_prob=own,
        advantages=rows(given.advantages_N, given.length_S),
        response_mask=mask,
        loss_agg_mode=mode,
        config=config,
        rollout_is_weights=torch.full(mask.shape, 0.5),
    )
    # Of two ranks, over which verl averages, and with a weight of one half.
    assert float(loss) == pytest.approx(float(wanted), abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, own)
    torch.testing.assert_close(gradient[mask], wanted_gradient, atol=1e-8, rtol=1e-5)
    assert 0 < metrics["actor/clip_rate"] < 1


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_an_advantage_by_its_name_in_verl(name):
    nan = float("nan")
    uids = np.array(["a", "b", "a", "b", "a", "b", "a"], dtype=object)
    scores = [1.0, 0.2, 0.0, 0.9, nan, 0.4, 1.0]
    mask = torch.ones(7, 3)
    mask[2, 2] = 0
    rewards = torch.zeros(7, 3)
    rewards[:, 1] = torch.tensor(scores)
    got, returns = core_algos.get_adv_estimator_fn(f"sharpen_{name}")(
        token_level_rewards=rewards, response_mask=mask, config=None, index=uids, reward_baselines=None
    )
    a, b = make_advantage(name)([[1.0, 0.0, None, 1.0], [0.2, 0.9, 0.4]])
    expected = torch.tensor([a[0], b[0], a[1], b[1], 0.0, b[2], a[3]])
    torch.testing.assert_close(got, expected[:, None] * mask)
    assert torch.equal(got, returns)


def test_verls_own_names_stay_its_own():
    for name in ("vanilla", "gspo", "cispo"):
        assert core_algos.get_policy_loss_fn(name).__module__ == core_algos.__name__
    assert core_algos.get_adv_estimator_fn("grpo").__module__ == core_algos.__name__


def test_nested_sequences_in_packed_rows(tiny_model):
    from rl.verl_engine import packed_inputs

    lengths = [4, 9, 2, 5, 3]
    sequences = list(torch.randint(1, 60, (sum(lengths),), generator=torch.Generator().manual_seed(0)).split(lengths))
    ids = torch.nested.as_nested_tensor(sequences, layout=torch.jagged)
    positions = torch.nested.as_nested_tensor([torch.arange(n) for n in lengths], layout=torch.jagged)
    inputs = packed_inputs(ids, positions)
    assert inputs[0].shape == (3, 9)  # 9, 5 + 4 and 3 + 2 tokens
    policy = load_policy(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        log_probs = policy(*inputs)[0].split(lengths)
        for sequence, got in zip(sequences, log_probs, strict=True):
            hidden = policy.model.model(input_ids=sequence[None], use_cache=False).last_hidden_state[0]
            logits = torch.nn.functional.linear(hidden, policy.model.lm_head.weight).log_softmax(-1)
            expected = logits[:-1].gather(-1, sequence[1:, None]).squeeze(-1)
            torch.testing.assert_close(got[:-1], expected, atol=1e-5, rtol=0)


def compose(config: str, *overrides: str):
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(config, overrides=list(overrides))


def a_model(**changes) -> SimpleNamespace:
    return SimpleNamespace(**{"override_config": {}, "enable_gradient_checkpointing": True} | changes)


def test_the_lines_of_the_page_in_verls_own_configs():
    from verl.utils.config import omega_conf_to_dataclass

    overrides = ["actor_rollout_ref.actor.strategy=deepspeed", "actor_rollout_ref.actor.use_dynamic_bsz=true"]
    actor = omega_conf_to_dataclass(compose("ppo_trainer", *overrides).actor_rollout_ref.actor)
    assert actor.engine.strategy == "deepspeed"
    assert verl_config.learner_config(a_model(), actor.engine, actor.optim, 4).zero_stage == 3
    prefix = "actor_rollout_ref.actor.fsdp_config"
    overrides += [f"{prefix}._target_=rl.verl_config.DeepSpeedEngineConfig", f"+{prefix}.zero_stage=1"]
    overrides += ["actor_rollout_ref.actor.optim.lr=2e-6", "actor_rollout_ref.actor.optim.clip_grad=0.5"]
    actor = omega_conf_to_dataclass(compose("ppo_trainer", *overrides).actor_rollout_ref.actor)
    learner = verl_config.learner_config(a_model(), actor.engine, actor.optim, 4)
    assert (learner.zero_stage, learner.dtype, learner.gradient_checkpointing) == (1, "bfloat16", True)
    assert (learner.optimizer.lr, learner.optimizer.max_grad_norm, learner.optimizer.betas) == (2e-6, 0.5, (0.9, 0.999))
    target = "engine._target_=rl.verl_config.DeepSpeedEngineConfig"
    sft = omega_conf_to_dataclass(compose("sft_trainer_engine", target, "+engine.zero_stage=2").engine)
    assert (sft.zero_stage, sft.forward_only) == (2, False)


@pytest.mark.parametrize(
    ("engine", "model", "optimizer", "named"),
    [
        ({"param_offload": True}, {}, {}, "engine.param_offload is True"),
        ({"ulysses_sequence_parallel_size": 2}, {}, {}, "engine.ulysses_sequence_parallel_size is 2"),
        ({"fsdp_size": 2}, {}, {}, "engine.fsdp_size is 2"),
        ({"dtype": "float16"}, {}, {}, "engine.dtype is float16"),
        ({"zero_stage": 4}, {}, {}, "zero_stage"),
        ({}, {"lora_rank": 8}, {}, "model.lora_rank is 8"),
        ({}, {"tiled_mlp": {"enabled": True}}, {}, "model.tiled_mlp.enabled is True"),
        ({}, {"override_config": {"rope_theta": 1.0}}, {}, "model.override_config has .'rope_theta'."),
        ({}, {}, {"optimizer": "AdamW8bit"}, "optim.optimizer is AdamW8bit"),
        ({}, {}, {"override_optimizer_config": {"amsgrad": True}}, "optim.override_optimizer_config has .'amsgrad'."),
    ],
)
def test_what_the_engine_cannot_do_is_refused(engine, model, optimizer, named):
    from verl.workers.config import FSDPOptimizerConfig

    config = verl_config.DeepSpeedEngineConfig(**engine)
    with pytest.raises(ValueError, match=named):
        verl_config.learner_config(a_model(**model), config, FSDPOptimizerConfig(**optimizer), 4)


def run_ranks(tiny_model: str, out: Path, engines: list) -> None:
    """Two ranks of tests.rl.verl_ranks, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    settings = json.dumps({"out": str(out), "model": tiny_model, "engines": engines})
    command = [sys.executable, "-m", "tests.rl.verl_ranks", settings]
    started = []
    for rank in ("0", "1"):
        log = (out / f"log-{rank}.txt").open("w")
        environment = os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}
        started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
    try:
        codes = [process.wait(timeout=400) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], (out / "log-0.txt").read_text()[-3000:]


STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def seen(tiny_model, tmp_path_factory):
    """What both ranks saw of the same batch and steps: verl's FSDP engine, and ours on each ZeRO stage."""
    out = tmp_path_factory.mktemp("verl")
    engines = [["fsdp2", "fsdp2", None], *([f"zero{stage}", "deepspeed", stage] for stage in STAGES)]
    run_ranks(tiny_model, out, engines)
    return {name: [torch.load(out / f"{name}-{rank}.pt") for rank in (0, 1)] for name, *_ in engines}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_engine_under_verls_worker_against_its_fsdp(seen, stage):
    for mine, theirs in zip(seen[f"zero{stage}"], seen["fsdp2"], strict=True):
        for name in ("log_probs", "entropy"):
            torch.testing.assert_close(mine[name], theirs[name], atol=1e-5, rtol=0)
        for step, expected in zip(mine["steps"], theirs["steps"], strict=True):
            assert step["loss"] == pytest.approx(expected["loss"], abs=1e-5)
            assert step["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
            assert step["lr"] == pytest.approx(expected["lr"], rel=1e-9)
        assert set(theirs["weights"]) - set(mine["weights"]) <= {"lm_head.weight"}  # tied: given once by ours
        gap, way = (
            max(float((tensor - other[name]).abs().max()) for name, tensor in mine["weights"].items())
            for other in (theirs["weights"], mine["start"])
        )
        assert gap < 1e-5 < 1e-3 < way


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_engine_goes_on_to_the_bit(seen, stage):
    for rank in seen[f"zero{stage}"]:
        assert rank["resumed_step"] == rank["steps"][-1]
        assert all(torch.equal(rank["resumed_weights"][name], tensor) for name, tensor in rank["weights"].items())


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_reference_is_the_weights_of_the_start(seen, stage):
    for rank in seen[f"zero{stage}"]:
        torch.testing.assert_close(rank["reference"], rank["log_probs"], atol=1e-6, rtol=0)


@pytest.mark.slow
def test_verl_finds_the_plugin_by_its_entry_point(tmp_path):
    """The metadata that setup.py makes, in an interpreter where nothing else names the plug-in."""
    made = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(made, cwd=ROOT, check=True, timeout=120, capture_output=True)
    code = (
        "import verl; from verl.workers.engine.base import EngineRegistry as R;"
        "from verl.trainer.ppo.core_algos import get_policy_loss_fn;"
        "print(R.get_engine_cls('language_model', 'deepspeed').__name__, get_policy_loss_fn('sharpen_gspo').args)"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "VERL_PLATFORM": "cpu"}
    environment.pop("VERL_USE_EXTERNAL_PLUGINS", None)
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert answer.stdout.split("\n")[-2] == "DeepSpeedEngine ('gspo',)", answer.stderr[-2000:]
