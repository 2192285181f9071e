"""One rank of the learner on DeepSpeed ZeRO."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rl.deepspeed_checkpoint import read_as_data
from rl.deepspeed_config import deepspeed_config, frozen_config
from rl.deepspeed_operators import load_operators
from rl.deepspeed_weights import ShardedWeights
from rl.divergence_head import Alignment
from rl.experts import load_balancing_coefficient
from rl.finite_updates import UpdateCounter
from rl.learner import Bucket, LearnerConfig, scheduled_lr
from rl.lora import adapters_off
from rl.objectives import ObjectiveConfig, make_objective
from rl.pairwise import PairwiseConfig
from rl.policy import load_policy
from rl.rank_updates import RankUpdate
from rl.reward_model import load_reward_model
from rl.routing import ExpertRouting
from rl.sequence_parallel import SequenceGroup
from rl.teacher import AlignmentConfig, FrozenTeacher
from rl.types import Computed, MicroBatch, StepMetrics, UpdateCounts
from rollout.memory import keep_freed_memory
from rollout.precision import resolve_precision

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def load_model(
    folder: str,
    config: LearnerConfig,
    objective: ObjectiveConfig,
    temperature: float,
    dtype: torch.dtype,
    sequence: SequenceGroup | None = None,
) -> nn.Module:
    """The model that the objective trains; `sequence` are the ranks that share its rows."""
    if isinstance(objective, PairwiseConfig):
        return load_reward_model(folder, dtype=dtype, gradient_checkpointing=config.gradient_checkpointing)
    return load_policy(
        folder,
        dtype=dtype,
        temperature=temperature,
        chunk=config.logits_chunk,
        gradient_checkpointing=config.gradient_checkpointing,
        lora=config.lora,
        sequence=sequence,
    )


class DeepSpeedRank:
    """A data-parallel rank. Every method is called on all ranks, in the same order."""

    is_trained = True  # a frozen one has no gradients and no optimizer

    def __init__(
        self, model: str, config: LearnerConfig, objective: ObjectiveConfig, *, temperature: float, seed: int
    ) -> None:
        import deepspeed

        os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
        # Ray leaves an actor one thread; the ranks of a host share its cores, which the engine leaves them in turn.
        torch.set_num_threads(config.threads or max(1, len(os.sched_getaffinity(0)) // config.num_ranks))
        torch.manual_seed(seed)
        self.config = config
        self.precision = resolve_precision(config.dtype)
        on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        if not on_gpu:
            keep_freed_memory()
            load_operators()
        if not dist.is_initialized():
            deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", verbose=False)
        self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
        self.model_name = model
        sequence = SequenceGroup(config.sequence_parallel_size) if config.sequence_parallel_size > 1 else None
        self._load = lambda: load_model(model, config, objective, temperature, DTYPES[self.precision], sequence)
        policy = self._load()
        self.routing = self._watch_experts(policy, objective)
        if self.is_trained:
            trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
            self.engine, self.optimizer, *_ = deepspeed.initialize(
                model=policy, model_parameters=trained, config=deepspeed_config(config, self.precision)
            )
        else:
            self.engine, self.optimizer = self._freeze(policy, self.precision), None
        self.weights = ShardedWeights(policy.model, config)
        self.objective = make_objective(objective)
        self.frozen = self._make_frozen() if self.objective.needs_frozen else None
        self.teacher = self._make_teacher(objective, temperature) if isinstance(objective, AlignmentConfig) else None
        self.counter = UpdateCounter()
        self._norm: float | None = None
        if config.zero_stage == 0 and self.is_trained:
            self._clip_before_step()

    def _watch_experts(self, policy: torch.nn.Module, objective: ObjectiveConfig) -> ExpertRouting:
        from deepspeed.utils import set_z3_leaf_modules

        coefficient = load_balancing_coefficient(self.config, objective)
        replay = self.config.routing_replay == "start"
        routing = ExpertRouting(policy, load_balancing=coefficient, replay=replay)
        if self.config.zero_stage == 3 and routing.routers:
            # A whole block is fetched at once: which experts its tokens choose differs from rank to rank.
            set_z3_leaf_modules(policy, ["Qwen3MoeSparseMoeBlock"])
        return routing

    def _make_frozen(self) -> Callable[..., Any]:
        """The weights of the start: the policy with adapters off, or a second copy, sharded like it under ZeRO-3."""
        return self._freeze(self._load(), self.precision) if self.config.lora is None else self._without_adapters

    def _without_adapters(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with self.routing.paused(), adapters_off(self.weights.model):
            return self.engine(*inputs)

    def _make_teacher(self, config: AlignmentConfig, temperature: float) -> FrozenTeacher:
        """The teacher's weights, sharded like the policy under ZeRO-3; its head alone is whole on every rank."""
        precision = resolve_precision(config.teacher.dtype)
        policy = load_policy(config.teacher.model, dtype=DTYPES[precision])
        head_VH = policy.model.lm_head.weight.detach()[: config.vocabulary_size].to(self.device, copy=True)
        settings = config.settings(temperature, self.config.logits_chunk)
        return FrozenTeacher(self._freeze(policy, precision), head_VH, settings)

    def _freeze(self, policy: torch.nn.Module, precision: str) -> Callable[..., Any]:
        import deepspeed

        policy = policy.requires_grad_(False).eval()
        if self.config.zero_stage < 3:
            return policy.to(self.device)
        engine, *_ = deepspeed.initialize(model=policy, config=frozen_config(self.config, precision))
        return engine

    def _clip_before_step(self) -> None:
        """Stage 0 tells no gradient norm in float32: measure and clip between reduction and step."""
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        limit = self.config.optimizer.max_grad_norm or float("inf")

        def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            self._norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
            if not math.isfinite(self._norm):  # the other stages skip such a step by themselves
                for parameter in parameters:
                    parameter.grad = None

        optimizer.register_step_pre_hook(clip)

    def evaluate(self, updates: list[RankUpdate]) -> StepMetrics:
        """The metrics of a batch without learning from it, global and the same on every rank."""
        sums: dict[str, Tensor] = {}
        with torch.no_grad(), self.routing.paused():
            for update in updates:
                for micro, weight in zip(update.micro_batches, update.weights, strict=True):
                    micro = micro.to(self.device)
                    logprobs_N, entropy_N = self.engine(*micro.model_inputs)
                    computed = Computed(logprobs_N=logprobs_N, entropy_N=entropy_N)
                    self._accumulate(sums, self.objective(micro, computed, update.counts)[1], weight)
        return self.objective.metrics(self._reduce(sums), len(updates))

    def update(self, updates: list[RankUpdate]) -> StepMetrics:
        """Train on one step's updates; metrics are global and the same on every rank.

        An update whose gradient is not finite is skipped, on all ranks. Raises FloatingPointError after some in a row.
        """
        norms, start = [], self._start_logprobs(updates)
        rates, sums_of = [], []
        for update, start_logprobs in zip(updates, start, strict=True):
            rates.append(self._set_lr())
            self._count_experts(update)
            sums: dict[str, Tensor] = {}
            for micro, weight, start_N in zip(update.micro_batches, update.weights, start_logprobs, strict=True):
                self._accumulate(sums, *self._backward(micro, weight, start_N, update.counts))
            norms.append(self.step())
            sums_of.append(sums)
        # What was skipped is in no mean; where all was, the step has nothing else to tell.
        counted = [sums for sums, norm in zip(sums_of, norms, strict=True) if math.isfinite(norm)] or sums_of
        total: dict[str, Tensor] = {}
        for sums in counted:
            self._accumulate(total, sums, 1.0)
        optim = self.counter.metrics(norms) | {"optim/lr": rates[-1]}
        return self.objective.metrics(self._reduce(total), len(counted)) | self.routing.metrics() | optim

    def step(self) -> float:
        """One optimizer step; the global norm of its gradients before clipping."""
        self._norm = None
        self.engine.step()
        self.routing.end_update()
        norm = self._grad_norm()
        self.counter.count(norm)
        return norm

    def _count_experts(self, update: RankUpdate) -> None:
        """The balancing loss needs the counts of the whole update before its first backward pass."""
        if self.routing.needs_count:
            with torch.no_grad():
                for micro, weight in zip(update.micro_batches, update.weights, strict=True):
                    self._forward(micro.to(self.device), weight, final=False)
        self.routing.fix_counts(len(update.micro_batches))

    def _forward(
        self, micro: MicroBatch, weight: float, *, final: bool = True, compare: Any = None
    ) -> tuple[Tensor, ...]:
        extra = () if compare is None else (compare,)
        with self.routing.watch(micro, weight, final=final):
            return self.engine(*micro.model_inputs, *extra)

    def _backward(
        self, micro: MicroBatch, weight: float, start_N: Tensor | None, counts: UpdateCounts
    ) -> tuple[dict[str, Tensor], float]:
        micro = micro.to(self.device)
        compare = None if self.teacher is None else self.teacher.comparison(micro)
        frozen_N = self._frozen_logprobs(micro)  # before the policy's pass, with whose graph adapters stay on
        logprobs_N, entropy_N, *aligned = self._forward(micro, weight, compare=compare)
        computed = Computed(
            logprobs_N=logprobs_N,
            entropy_N=entropy_N,
            start_logprobs_N=start_N,
            frozen_logprobs_N=frozen_N,
            alignment=Alignment(*aligned) if aligned else None,
        )
        loss, sums = self.objective(micro, computed, counts)
        loss = loss + self.routing.loss()
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
        totals /= self.config.sequence_parallel_size  # its ranks all count the same tokens
        return dict(zip(names, totals.tolist(), strict=True))

    def _start_logprobs(self, updates: list[RankUpdate]) -> list[list[Tensor | None]]:
        """The learner's log-probs before the first update; with one update they are its own, detached."""
        if len(updates) == 1 or not self.objective.needs_start:
            return [[None] * len(u.micro_batches) for u in updates]
        with torch.no_grad(), self.routing.recording():
            return [
                [self._forward(m.to(self.device), w)[0] for m, w in zip(u.micro_batches, u.weights, strict=True)]
                for u in updates
            ]

    def _frozen_logprobs(self, micro: MicroBatch) -> Tensor | None:
        if self.frozen is None:
            return None
        with torch.no_grad():
            return self.frozen(*micro.model_inputs)[0]

    def _set_lr(self) -> float:
        rate = scheduled_lr(self.config.optimizer, self.counter.num_updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _grad_norm(self) -> float:
        norm = self._norm if self.config.zero_stage == 0 else self.engine.get_global_grad_norm()
        return math.nan if norm is None else float(norm)

    def num_buckets(self) -> int:
        return len(self.weights.buckets)

    def write_bucket(self, index: int) -> Bucket | None:
        """Bucket `index` into a file in shared memory; rank 0 answers with what is where in it."""
        return self.weights.write_bucket(index)

    def save(self, folder: str) -> None:
        """Optimizer and sharded state for an exact resume, and the weights as a Hugging Face folder `model/`.

        What is frozen is read from the model again; of adapters there is a folder `adapter/` too.
        """
        state = self.counter.state() | {"objective": self.objective.state()}
        self.engine.save_checkpoint(
            folder, tag="learner", client_state=state, save_latest=False, exclude_frozen_parameters=True
        )
        self.weights.save(Path(folder) / "model", self.model_name)
        self.weights.save_adapters(Path(folder) / "adapter", self.model_name)
        dist.barrier()

    def load(self, folder: str) -> None:
        """Go on exactly where `save` was called, on the same number of ranks."""
        read_as_data(self.engine)
        path, state = self.engine.load_checkpoint(folder, tag="learner", load_module_strict=self.config.lora is None)
        if path is None:
            raise ValueError(f"resume: {folder} holds no learner checkpoint")
        self.counter.load(state)
        self.objective.load(state["objective"])
