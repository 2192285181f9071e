"""One rank of the learner on DeepSpeed ZeRO: the only file that knows DeepSpeed."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rl.entropy import applied_entropy_coefficient, next_entropy_coefficient
from rl.learner import Bucket, LearnerConfig, scheduled_lr
from rl.losses import LossConfig, LossInputs, make_policy_loss, metric_values
from rl.policy import Policy, load_policy
from rl.types import MicroBatch, StepMetrics, TrainBatch, UpdateCounts
from rollout.precision import resolve_precision

STATE = ("num_updates", "entropy_coefficient", "measured_entropy")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class RankUpdate:
    """One rank's part of an `Update`."""

    micro_batches: tuple[MicroBatch, ...]
    weights: tuple[float, ...]
    counts: UpdateCounts


def shares(batch: TrainBatch, num_ranks: int) -> list[list[RankUpdate]]:
    """The batch by rank."""
    return [[RankUpdate(u.micro_batches[r], u.weights[r], u.counts) for u in batch.updates] for r in range(num_ranks)]


class DeepSpeedRank:
    """A data-parallel rank. Every method is called on all ranks, in the same order."""

    def __init__(self, model: str, config: LearnerConfig, loss: LossConfig, *, temperature: float, seed: int) -> None:
        import deepspeed

        os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
        # Ray leaves an actor one thread; the ranks of a host share its cores, which the engine leaves them in turn.
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // config.num_ranks))
        torch.manual_seed(seed)
        self.config, self.loss_config = config, loss
        self.precision = resolve_precision(config.dtype)
        on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        if not dist.is_initialized():
            deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", verbose=False)
        self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
        self.model_name = model
        self._load = lambda: load_policy(
            model,
            dtype=DTYPES[self.precision],
            temperature=temperature,
            chunk=config.logits_chunk,
            gradient_checkpointing=config.gradient_checkpointing,
        )
        policy = self._load()
        self.engine, self.optimizer, *_ = deepspeed.initialize(
            model=policy, model_parameters=policy.parameters(), config=self._deepspeed_config()
        )
        self.policy_loss = make_policy_loss(loss)
        self.frozen = self._make_frozen() if loss.needs_frozen_logprobs else None
        self.num_updates = 0
        self.entropy_coefficient = loss.entropy.coefficient
        self.measured_entropy = float("inf")
        self._norm: float | None = None
        if config.zero_stage == 0:
            self._clip_before_step()

    def _deepspeed_config(self) -> dict[str, Any]:
        o = self.config.optimizer
        # A missing gradient_clipping means 1.0 to DeepSpeed, so it is always said.
        clip = 0.0 if self.config.zero_stage == 0 else o.max_grad_norm
        adamw = {"lr": o.lr, "betas": list(o.betas), "eps": o.eps, "weight_decay": o.weight_decay}
        adamw |= {"torch_adam": True, "fused": True}
        return {
            "train_batch_size": self.num_ranks,
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": clip,
            "optimizer": {"type": "AdamW", "params": adamw},
            "zero_optimization": {"stage": self.config.zero_stage, "overlap_comm": False},
            "bf16": {"enabled": self.precision == "bfloat16"},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }

    def _make_frozen(self) -> Callable[..., tuple[Tensor, Tensor]]:
        """The weights of the start, without gradient, sharded like the policy under ZeRO-3."""
        import deepspeed

        policy = self._load().requires_grad_(False).eval()
        if self.config.zero_stage < 3:
            return policy.to(self.device)
        config = self._deepspeed_config()
        del config["optimizer"]
        engine, *_ = deepspeed.initialize(model=policy, config=config)
        return engine

    def _clip_before_step(self) -> None:
        """Stage 0 tells no gradient norm in float32: measure and clip between reduction and step."""
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        limit = self.config.optimizer.max_grad_norm or float("inf")

        def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            self._norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))

        optimizer.register_step_pre_hook(clip)

    def update(self, updates: list[RankUpdate]) -> StepMetrics:
        """Train on one step's updates; metrics are global and the same on every rank.

        Raises FloatingPointError when a loss or gradient norm is not finite.
        """
        sums: dict[str, Tensor] = {}
        norms, start = [], self._start_logprobs(updates)
        rates = []
        for update, start_logprobs in zip(updates, start, strict=True):
            rates.append(self._set_lr())
            for micro, weight, start_N in zip(update.micro_batches, update.weights, start_logprobs, strict=True):
                self._accumulate(sums, *self._backward(micro, weight, start_N, update.counts))
            self.engine.step()
            norms.append(self._grad_norm())
            self.num_updates += 1
        metrics = metric_values(self._reduce(sums), len(updates))
        self._steer_entropy(metrics)
        extra = {"optim/grad_norm": sum(norms) / len(norms), "optim/lr": rates[-1], "optim/updates": self.num_updates}
        if self.loss_config.entropy.is_used:
            extra["optim/entropy_coefficient"] = self.entropy_coefficient
        return metrics | extra

    def _backward(
        self, micro: MicroBatch, weight: float, start_N: Tensor | None, counts: UpdateCounts
    ) -> tuple[dict[str, Tensor], float]:
        micro = micro.to(self.device)
        log_probs_N, entropy_N = self.engine(*micro.model_inputs)
        assert micro.advantages_N is not None, "a policy loss needs advantages"
        assert micro.sampler_logprobs_N is not None, "a policy loss needs the sampler's log-probs"
        inputs = LossInputs(
            learner_logprobs_N=log_probs_N,
            start_logprobs_N=log_probs_N.detach() if start_N is None else start_N,
            sampler_logprobs_N=micro.sampler_logprobs_N,
            advantages_N=micro.advantages_N,
            sequence_N=micro.sequence_N,
            length_S=micro.length_S,
            entropy_N=entropy_N,
            frozen_logprobs_N=self._frozen_logprobs(micro),
        )
        applied = applied_entropy_coefficient(self.entropy_coefficient, self.measured_entropy, self.loss_config.entropy)
        loss, sums = self.policy_loss(inputs, counts, entropy_coefficient=applied)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss of update {self.num_updates} on rank {self.rank} is {loss.item()}")
        # DeepSpeed averages over the ranks, and the loss is already a part of the global one.
        self.engine.backward(loss * (self.num_ranks * weight), scale_wrt_gas=False)
        return sums, weight

    @staticmethod
    def _accumulate(sums: dict[str, Tensor], part: dict[str, Tensor], weight: float) -> None:
        for name, value in part.items():
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value.double().cpu() * weight

    def _reduce(self, sums: dict[str, Tensor]) -> dict[str, float]:
        names = sorted(sums)
        totals = torch.stack([sums[name] for name in names]).to(self.device)
        dist.all_reduce(totals)
        return dict(zip(names, totals.tolist(), strict=True))

    def _start_logprobs(self, updates: list[RankUpdate]) -> list[list[Tensor | None]]:
        """The learner's log-probs before the first update; with one update they are its own, detached."""
        if len(updates) == 1:
            return [[None] * len(updates[0].micro_batches)]
        with torch.no_grad():
            return [[self.engine(*m.to(self.device).model_inputs)[0] for m in u.micro_batches] for u in updates]

    def _frozen_logprobs(self, micro: MicroBatch) -> Tensor | None:
        if self.frozen is None:
            return None
        with torch.no_grad():
            return self.frozen(*micro.model_inputs)[0]

    def _set_lr(self) -> float:
        rate = scheduled_lr(self.config.optimizer, self.num_updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _grad_norm(self) -> float:
        norm = self._norm if self.config.zero_stage == 0 else self.engine.get_global_grad_norm()
        norm = float("nan") if norm is None else float(norm)
        if not torch.isfinite(torch.tensor(norm)):
            raise FloatingPointError(f"gradient norm of update {self.num_updates} is {norm}: lower the learning rate")
        return norm

    def _steer_entropy(self, metrics: StepMetrics) -> None:
        self.measured_entropy = metrics.get("policy/entropy", float("inf"))
        self.entropy_coefficient = next_entropy_coefficient(
            self.entropy_coefficient, self.measured_entropy, self.loss_config.entropy
        )

    @cached_property
    def _parameter_buckets(self) -> list[list[tuple[str, torch.nn.Parameter]]]:
        """Hugging Face names and parameters (tied ones once), in buckets of at most `bucket_mib` where one fits."""
        buckets: list[list[tuple[str, torch.nn.Parameter]]] = []
        room = 0
        policy: Policy = self.engine.module
        for name, parameter in policy.model.named_parameters():
            count = getattr(parameter, "ds_numel", parameter.numel())
            size = -(-count * parameter.element_size() // 16) * 16
            if not buckets or size > room:
                buckets.append([])
                room = self.config.bucket_mib * 2**20
            buckets[-1].append((name, parameter))
            room -= size
        return buckets

    def num_buckets(self) -> int:
        return len(self._parameter_buckets)

    def _gathered(self, bucket: list[tuple[str, torch.nn.Parameter]]) -> Any:
        import deepspeed

        sharded = self.config.zero_stage == 3
        return deepspeed.zero.GatheredParameters([p for _, p in bucket], enabled=sharded)

    def write_bucket(self, index: int, path: str) -> Bucket | None:
        """Bucket `index` into a file in shared memory; rank 0 answers with what is where in it."""
        bucket = self._parameter_buckets[index]
        with self._gathered(bucket):
            if self.rank != 0:
                return None
            offsets, end = [], 0
            for _, parameter in bucket:
                offsets.append(end)
                end += -(-parameter.numel() * parameter.element_size() // 16) * 16
            # A file that is there already keeps its pages: writing into it again is twice as fast.
            memory = torch.from_file(path, shared=True, size=end, dtype=torch.uint8)
            for (_, parameter), offset in zip(bucket, offsets, strict=True):
                size = parameter.numel() * parameter.element_size()
                memory[offset : offset + size].view(parameter.dtype).view(parameter.shape).copy_(parameter.detach())
            return {
                "path": path,
                "names": [name for name, _ in bucket],
                "dtypes": [str(p.dtype).removeprefix("torch.") for _, p in bucket],
                "shapes": [list(p.shape) for _, p in bucket],
                "offsets": offsets,
            }

    def save(self, folder: str) -> None:
        """Optimizer and sharded state for an exact resume, and the weights as a Hugging Face folder `model/`."""
        state = {name: getattr(self, name) for name in STATE}
        self.engine.save_checkpoint(folder, tag="learner", client_state=state, save_latest=False)
        self._save_model(Path(folder) / "model")
        dist.barrier()

    def _save_model(self, folder: Path) -> None:
        from safetensors.torch import save_file

        index: dict[str, str] = {}
        size = 0
        for number, bucket in enumerate(self._parameter_buckets):
            with self._gathered(bucket):
                if self.rank == 0:
                    folder.mkdir(exist_ok=True)
                    name = f"model-{number:05d}.safetensors"
                    tensors = {key: p.detach().cpu().contiguous() for key, p in bucket}
                    save_file(tensors, folder / name, metadata={"format": "pt"})
                    index |= dict.fromkeys(tensors, name)
                    size += sum(t.nbytes for t in tensors.values())
        if self.rank == 0:
            from transformers import AutoTokenizer

            content = {"metadata": {"total_size": size}, "weight_map": index}
            (folder / "model.safetensors.index.json").write_text(json.dumps(content))
            model = self.engine.module.model
            model.config.save_pretrained(folder)
            if model.generation_config is not None:
                model.generation_config.save_pretrained(folder)
            AutoTokenizer.from_pretrained(self.model_name).save_pretrained(folder)

    def load(self, folder: str) -> None:
        """Go on exactly where `save` was called, on the same number of ranks."""
        path, state = self.engine.load_checkpoint(folder, tag="learner")
        if path is None:
            raise ValueError(f"resume: {folder} holds no learner checkpoint")
        for name in STATE:
            setattr(self, name, state[name])
