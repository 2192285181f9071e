"""One rank of the parity check with verl: its TrainingWorker on a CPU, with its own FSDP engine and with ours.

`python -m tests.rl.verl_ranks SETTINGS.json` with torchrun's variables; what a rank saw lies in OUT/NAME-RANK.pt.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

VOCABULARY = 64
FLOAT32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
LENGTHS = [(3, 9), (5, 2), (4, 14), (7, 6), (2, 11), (6, 4), (3, 1), (8, 8)]  # prompt and response of each sequence


def make_batch(rank: int) -> Any:
    """Half of eight ragged sequences, as verl's trainers give them to a worker: padded streams, nested tokens."""
    from tensordict import NonTensorData, TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.padding import left_right_2_no_padding

    generator = torch.Generator().manual_seed(7)
    prompts, responses = max(p for p, _ in LENGTHS), max(r for _, r in LENGTHS)
    tokens = torch.randint(1, VOCABULARY, (len(LENGTHS), prompts + responses), generator=generator)
    old = -2 * torch.rand(len(LENGTHS), responses, generator=generator) - 2
    frozen = old + 0.3 * torch.randn(old.shape, generator=generator)
    advantages = torch.randn(len(LENGTHS), 1, generator=generator).expand(-1, responses)
    place = torch.arange(prompts + responses)
    first = torch.tensor([prompts - p for p, _ in LENGTHS])[:, None]
    attention = ((place >= first) & (place < prompts + torch.tensor([r for _, r in LENGTHS])[:, None])).long()
    whole = {
        "input_ids": tokens * attention,
        "attention_mask": attention,
        "position_ids": (attention.cumsum(-1) - 1).clamp(min=0),
        "prompts": (tokens * attention)[:, :prompts],
        "responses": (tokens * attention)[:, prompts:],
        "response_mask": attention[:, prompts:],
        "old_log_probs": old,
        "ref_log_prob": frozen,
        "advantages": advantages,
    }
    mine = slice(rank * 4, rank * 4 + 4)
    data = left_right_2_no_padding(TensorDict({k: v[mine].clone() for k, v in whole.items()}, batch_size=4))
    tu.assign_non_tensor(
        data,
        temperature=0.8,
        calculate_entropy=True,
        global_batch_size=len(LENGTHS),
        global_token_num=NonTensorData([p + r for p, r in LENGTHS]),
        update_lr_scheduler=True,
    )
    return data


def make_worker(model: str, strategy: str, stage: int | None, *, forward_only: bool = False) -> Any:
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import ActorConfig, FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
    from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
    from verl.workers.utils.losses import ppo_loss

    from rl.verl_config import DeepSpeedEngineConfig

    common = {"mixed_precision": FLOAT32, "use_torch_compile": False, "strategy": strategy}
    common |= {"forward_only": forward_only}
    common |= {"max_token_len_per_gpu": 24, "infer_max_token_len_per_gpu": 24}
    engine = FSDPEngineConfig(**common) if stage is None else DeepSpeedEngineConfig(zero_stage=stage, **common)
    # A large eps keeps AdamW from blowing float noise up where a gradient is nearly zero.
    optimizer = FSDPOptimizerConfig(
        lr=1e-2,
        lr_scheduler_type="cosine",
        lr_warmup_steps=1,
        total_training_steps=8,
        min_lr_ratio=0.1,
        clip_grad=0.05,
        override_optimizer_config={"eps": 1e-3},
    )
    hf = HFModelConfig(path=model, use_remove_padding=False, override_config={"attn_implementation": "sdpa"})
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=hf,
            engine_config=engine,
            optimizer_config=optimizer,
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    actor = ActorConfig(
        strategy=strategy,
        rollout_n=4,
        use_dynamic_bsz=True,
        clip_ratio_high=0.28,
        entropy_coeff=0.01,
        use_kl_loss=True,
        kl_loss_coef=0.1,
        loss_agg_mode="seq-mean-token-mean",
    )
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


def weights(worker: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in worker.engine.get_per_tensor_param()[0]}


def train(worker: Any) -> dict[str, Any]:
    from verl.utils import tensordict_utils as tu

    metrics = tu.get(worker.train_batch(make_batch(dist.get_rank())), "metrics")
    return {name: metrics[name] for name in ("loss", "grad_norm", "lr")}


def observe(model: str, strategy: str, stage: int | None, checkpoint: Path | None) -> dict[str, Any]:
    """Log-probs before, three steps (the first warms up at rate 0), weights after; for ours a reference, a resume."""
    worker = make_worker(model, strategy, stage)
    scored = worker.infer_batch(make_batch(dist.get_rank()))
    seen = {name: scored[name].values() for name in ("log_probs", "entropy")}
    seen["start"] = weights(worker)
    seen["steps"] = [train(worker) for _ in range(2)]
    if checkpoint is not None:
        worker.save_checkpoint(str(checkpoint))
    seen["steps"].append(train(worker))
    seen["weights"] = weights(worker)
    if checkpoint is not None:
        reference = make_worker(model, strategy, stage, forward_only=True)
        seen["reference"] = reference.infer_batch(make_batch(dist.get_rank()))["log_probs"].values()
        resumed = make_worker(model, strategy, stage)
        resumed.load_checkpoint(str(checkpoint))
        seen["resumed_step"] = train(resumed)
        seen["resumed_weights"] = weights(resumed)
    return seen


def main(settings: str) -> None:
    os.environ |= {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "rl.verl_plugin"}
    dist.init_process_group("gloo")
    from verl.models.transformers import monkey_patch
    from verl.workers.engine.base import EngineRegistry
    from verl.workers.engine.fsdp import FSDPEngineWithLMHead

    monkey_patch.is_trl_available = lambda: False  # verl wants a value head of TRL that our version has no more
    EngineRegistry.register("language_model", ["fsdp", "fsdp2"], device="cpu")(FSDPEngineWithLMHead)
    given = json.loads(settings)
    out = Path(given["out"])
    for name, strategy, stage in given["engines"]:
        checkpoint = out / name if stage is not None else None
        seen = observe(given["model"], strategy, stage, checkpoint)
        torch.save(seen, out / f"{name}-{dist.get_rank()}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
