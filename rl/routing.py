"""What the routers of a mixture of experts choose: watched, balanced over a global batch, and replayed.

The routers are watched by hooks. A hook runs again where gradient checkpointing computes a layer again: it then
does the same operations on the same inputs, and only the first run is kept.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rl.load_balancing import load_balancing_loss, load_metrics
from rl.types import MicroBatch, StepMetrics


class ExpertRouting:
    """The routers of a Qwen3-MoE model in the order of its layers; with none (a dense model) everything is nothing.

    A position counts as often as it predicts a trained token, so that neither padding nor the sharing of prompts
    changes the loss. `load_balancing` is the coefficient. With `replay` the experts of the passes inside
    `recording` are chosen again, in the same order, by the passes after it (Routing Replay R2, 2512.01374), with
    gate weights of the current router.
    """

    def __init__(self, model: nn.Module, *, load_balancing: float = 0.0, replay: bool = False) -> None:
        from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

        self.routers: list[Any] = [m for m in model.modules() if isinstance(m, Qwen3MoeTopKRouter)]
        self.load_balancing, self.replay = load_balancing if self.routers else 0.0, replay
        self.global_counts_LE: Tensor | None = None
        self._recording = self._watching = False
        self._records: deque[tuple[list[Tensor], Tensor]] = deque()  # experts [B*T, K] by layer, counts_LE
        self._forced: list[Tensor] | None = None
        self._weight_T: Tensor | None = None
        self._metrics: list[dict[str, float]] = []
        self._forget_pass()
        self._forget_update()
        for layer, router in enumerate(self.routers):
            router.register_forward_hook(partial(self._on_router, layer))

    def _forget_pass(self) -> None:
        self._experts: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._sums: list[Tensor] = []

    def _forget_update(self) -> None:
        self._update_counts_LE: Tensor | float = 0.0
        self._update_sums_LE: Tensor | float = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember the experts of each pass inside, if they are to be replayed."""
        self._records.clear()
        self._recording = self.replay
        try:
            yield
        finally:
            self._recording = False
            self._forget_update()

    @contextmanager
    def watch(self, micro: MicroBatch, weight: float, *, final: bool = True) -> Iterator[None]:
        """One forward pass of that micro-batch. `final`: the pass that is learned from, which uses up a record."""
        if not self.routers:
            yield
            return
        size = micro.input_ids_BT.numel()
        self._weight_T = torch.bincount(micro.source_N, minlength=size).float() * weight
        replaying = final and bool(self._records) and not self._recording
        device = micro.input_ids_BT.device
        self._forced = [e.to(device).long() for e in self._records.popleft()[0]] if replaying else None
        self._forget_pass()
        self._watching = True
        try:
            yield
        finally:
            self._watching = False
        assert len(self._counts) == len(self.routers), "every router is passed once in a forward pass"
        counts_LE = torch.stack(self._counts)
        if self._recording:
            self._records.append(([e.to("cpu", torch.int16) for e in self._experts], counts_LE))
        self._update_counts_LE = self._update_counts_LE + counts_LE
        self._update_sums_LE = self._update_sums_LE + torch.stack(self._sums).detach().double()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Passes inside are not watched, and choose their own experts."""
        weight_T, self._weight_T = self._weight_T, None
        try:
            yield
        finally:
            self._weight_T = weight_T

    def _on_router(self, layer: int, router: Any, _: Any, output: tuple[Tensor, Tensor, Tensor]) -> Any:
        if self._weight_T is None:
            return output
        logits_TE, gates_TK, experts_TK = output
        probs_TE = logits_TE.softmax(-1, dtype=torch.float32)
        if self._forced is not None:
            experts_TK = self._forced[layer]
            gates_TK = probs_TE.gather(-1, experts_TK)
            if router.norm_topk_prob:
                gates_TK = gates_TK / gates_TK.sum(-1, keepdim=True)
            gates_TK = gates_TK.to(logits_TE.dtype)
        sums_E = self._weight_T @ probs_TE
        if self._watching:
            weights = self._weight_T.double().repeat_interleave(experts_TK.shape[-1])
            self._counts.append(torch.bincount(experts_TK.flatten(), weights=weights, minlength=router.num_experts))
            self._sums.append(sums_E)
            self._experts.append(experts_TK)
        return logits_TE, gates_TK, experts_TK

    @property
    def needs_count(self) -> bool:
        """Whether the passes of an update have to be made once before, for nothing but their counts."""
        return self.load_balancing > 0 and not self._records

    def fix_counts(self, num_micro_batches: int) -> None:
        """The global counts of the update that begins: of the passes just made, or of the records that it replays."""
        if self.load_balancing == 0:
            return
        records = [counts_LE for _, counts_LE in islice(self._records, num_micro_batches)]
        counts_LE = torch.stack(records).sum(0) if records else self._update_counts_LE
        assert isinstance(counts_LE, Tensor), "an update has micro-batches"
        self.global_counts_LE = _all_reduce(counts_LE)
        self._forget_update()

    def loss(self) -> Tensor | float:
        """The balancing part of the pass just watched, with the coefficient, to be added to its loss."""
        if self.load_balancing == 0:
            return 0.0
        assert self.global_counts_LE is not None, "counts are fixed before the first loss of an update"
        return self.load_balancing * load_balancing_loss(
            self.global_counts_LE, torch.stack(self._sums), self.routers[0].top_k
        )

    def end_update(self) -> None:
        """Measure the update's balance over all ranks."""
        if isinstance(self._update_counts_LE, Tensor) and isinstance(self._update_sums_LE, Tensor):
            counts_LE, sums_LE = _all_reduce(torch.stack([self._update_counts_LE, self._update_sums_LE]))
            self._metrics.append(load_metrics(counts_LE, sums_LE, self.routers[0].top_k))
        self._forget_update()

    def metrics(self) -> StepMetrics:
        """Means over the updates since the last call; none for a dense model."""
        rows, self._metrics = self._metrics, []
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}


def _all_reduce(value: Tensor) -> Tensor:
    total = value.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total
