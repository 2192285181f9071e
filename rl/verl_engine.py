"""The learner as an engine of verl's trainers: `strategy: deepspeed` (docs/verl.md)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.model import extract_multi_modal_inputs
from verl.utils.torch_functional import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup
from verl.workers.engine.base import BaseEngine, BaseEngineCtx, EngineRegistry
from verl.workers.engine.utils import (
    detach_tree,
    enable_full_determinism,
    postprocess_batch_func,
    prepare_micro_batches,
)

from rl.batch import first_fit
from rl.deepspeed_learner import DeepSpeedRank
from rl.losses import LossConfig
from rl.verl_config import learner_config

UNSUPPORTED_REQUESTS = ("calculate_sum_pi_squared", "distillation_use_topk", "distillation_only")
CHECKPOINT_CONTENTS = {"model", "optimizer", "extra"}
SCHEDULE_FILE = "schedule.json"

Outputs = dict[str, Any]


class FrozenRank(DeepSpeedRank):
    """The weights alone, for a reference."""

    is_trained = False


class TrainMode(BaseEngineCtx):
    """verl's span of training; gradients that were not used do not leave it."""

    def __init__(self, engine: "DeepSpeedEngine", **options: Any) -> None:
        super().__init__(engine, "train", **options)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if self.zero_grad_on_exit and exc_type is None:
            self.engine.optimizer_zero_grad()
        super().__exit__(exc_type, exc_value, traceback)


def packed_inputs(input_ids: Tensor, position_ids: Tensor) -> tuple[Tensor, ...]:
    """verl's nested sequences as `rl.policy.Policy` takes them: rows as long as the longest, each filled with others.

    Every token is a source, in the order of the nested values, and its target the one after it. The last token of
    a sequence has the next sequence's first as its target, as in verl's engines: no loss reads it.
    """
    ids, lengths = input_ids.values(), input_ids.offsets().diff().tolist()
    width, starts = max(lengths), input_ids.offsets().tolist()
    rows = first_fit(lengths, width)
    place_N = torch.empty_like(ids)
    group_BT = torch.full((len(rows) * width,), -1, dtype=ids.dtype, device=ids.device)
    for row, members in enumerate(rows):
        at = row * width
        for group, index in enumerate(members):
            end = at + lengths[index]
            place_N[starts[index] : starts[index + 1]] = torch.arange(at, end, device=ids.device)
            group_BT[at:end] = group
            at = end
    tokens_BT, positions_BT = torch.zeros_like(group_BT), torch.zeros_like(group_BT)
    tokens_BT[place_N], positions_BT[place_N] = ids, position_ids.values().to(ids.dtype)
    streams = (tokens_BT, positions_BT, group_BT, torch.zeros_like(group_BT))
    return (*(stream.view(len(rows), width) for stream in streams), place_N, ids.roll(-1))


@EngineRegistry.register(model_type="language_model", backend="deepspeed", device=["cpu", "cuda"])
class DeepSpeedEngine(BaseEngine):
    """A data-parallel rank of our learner, computing verl's losses. Every method is called on all ranks."""

    is_param_offload_enabled = False
    is_optimizer_offload_enabled = False

    def __init__(self, model_config: Any, engine_config: Any, optimizer_config: Any, checkpoint_config: Any) -> None:
        self.model_config, self.engine_config = model_config, engine_config
        self.optimizer_config, self.checkpoint_config = optimizer_config, checkpoint_config
        self.mode: str | None = None
        self.num_ranks = dist.get_world_size()
        self.config = learner_config(model_config, engine_config, optimizer_config, self.num_ranks)
        self.learner: DeepSpeedRank
        self.schedule: Any = None
        self._has_gradients = False
        self._checkpoints = BaseCheckpointManager(None, None, checkpoint_config=checkpoint_config)

    def initialize(self) -> None:
        """Load the model; verl has said by now how many steps there will be."""
        if self.engine_config.full_determinism:
            enable_full_determinism(self.engine_config.seed)
        rank_class = FrozenRank if self.engine_config.forward_only else DeepSpeedRank
        # The loss comes with each batch; this one makes no part of the learner that verl has no use for.
        none = LossConfig(correction={"mode": "none"})
        seed = self.engine_config.seed
        self.learner = rank_class(self.model_config.local_path, self.config, none, temperature=1.0, seed=seed)
        if rank_class is DeepSpeedRank:
            self.schedule = self._make_schedule()

    def _make_schedule(self) -> Any:
        """verl's own schedules, on the optimizer inside DeepSpeed's."""
        options = self.optimizer_config
        optimizer = getattr(self.learner.optimizer, "optimizer", self.learner.optimizer)
        warmup = options.lr_warmup_steps or 0
        if warmup <= 0:
            warmup = int(options.lr_warmup_steps_ratio * options.total_training_steps)
        if getattr(options, "lr_scheduler_type", "constant") == "constant":
            return get_constant_schedule_with_warmup(optimizer, warmup)
        return get_cosine_schedule_with_warmup(
            optimizer,
            warmup,
            options.total_training_steps,
            min_lr_ratio=options.min_lr_ratio,
            num_cycles=options.num_cycles,
            zero_indexed_step=options.zero_indexed_step,
        )

    def train_mode(self, **options: Any) -> BaseEngineCtx:
        return TrainMode(self, **options)

    def eval_mode(self, **options: Any) -> BaseEngineCtx:
        return BaseEngineCtx(self, "eval", **options)

    def forward_backward_batch(
        self, data: TensorDict, loss_function: Callable[..., Any] | None, forward_only: bool = False
    ) -> Outputs:
        """A batch in micro-batches of verl's making, as many on each rank; gradients add up until `optimizer_step`."""
        _check_batch(data)
        num_tokens = data["loss_mask"].sum().to(self.learner.device)
        dist.all_reduce(num_tokens)
        tu.assign_non_tensor(data, sp_size=1, dp_size=self.num_ranks, batch_num_tokens=num_tokens.item())
        keep_output = forward_only or tu.get_non_tensor_data(data, "return_model_output", False)
        micro_batches, indices = prepare_micro_batches(data, dp_group=self.get_data_parallel_group())
        outputs = []
        for micro in micro_batches:
            with torch.set_grad_enabled(not forward_only):
                loss, output = self._forward(micro.to(self.learner.device), loss_function)
            if not forward_only:
                # verl's losses are parts of the global one times the ranks, over which DeepSpeed averages.
                self.learner.engine.backward(loss, scale_wrt_gas=False)
                self._has_gradients = True
            if not keep_output:
                del output["model_output"]
            outputs.append(output)
        return postprocess_batch_func(outputs, indices, data)

    def _forward(self, micro: TensorDict, loss_function: Callable[..., Any] | None) -> tuple[Tensor, Outputs]:
        model_output = self._log_probs(micro)
        loss, metrics = torch.ones((), device=self.learner.device), {}
        if loss_function is not None:
            group = self.get_data_parallel_group()
            loss, metrics = loss_function(model_output=model_output, data=micro, dp_group=group)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss on rank {self.get_data_parallel_rank()} is {loss.item()}")
        return loss, {"model_output": detach_tree(model_output), "loss": loss.item(), "metrics": metrics}

    def _log_probs(self, micro: TensorDict) -> dict[str, Tensor]:
        """log p of each token's successor and, where verl asks for it, the entropy there: nested like `input_ids`."""
        input_ids = micro["input_ids"]
        self.learner.weights.model.lm_head.temperature = _temperature(micro["temperature"])
        log_probs_N, entropy_N = self.learner.engine(*packed_inputs(input_ids, micro["position_ids"]))
        streams = {"log_probs": log_probs_N}
        if tu.get_non_tensor_data(micro, "calculate_entropy", False):
            streams["entropy"] = entropy_N
        offsets = input_ids.offsets()
        return {name: torch.nested.nested_tensor_from_jagged(stream, offsets) for name, stream in streams.items()}

    def optimizer_zero_grad(self) -> None:
        """Nothing to do: a step leaves no gradients. RuntimeError where there was none, since DeepSpeed keeps them."""
        if self._has_gradients:
            raise RuntimeError("strategy deepspeed: gradients cannot be thrown away, call optimizer_step after them")

    def optimizer_step(self) -> float:
        """The global gradient norm before clipping; where it is not finite, the step is skipped.

        Raises FloatingPointError after some in a row.
        """
        self._has_gradients = False
        return self.learner.step()

    def lr_scheduler_step(self) -> float:
        self.schedule.step()
        return self.schedule.get_last_lr()[0]

    def get_data_parallel_rank(self) -> int:
        return dist.get_rank()

    def get_data_parallel_size(self) -> int:
        return self.num_ranks

    def get_data_parallel_group(self) -> Any:
        return dist.group.WORLD

    def is_mp_src_rank_with_outputs(self) -> bool:
        return True

    def to(self, device: str, model: bool = True, optimizer: bool = True, grad: bool = True) -> None:
        """verl moves what its offload options name, which are refused: nothing is left to move."""
        if (model or optimizer or grad) and torch.device(device).type != self.learner.device.type:
            raise ValueError(
                f"strategy deepspeed: the engine cannot move to {device}, leave it on {self.learner.device}"
            )

    def get_per_tensor_param(self, **_: Any) -> tuple[Iterator[tuple[str, Tensor]], None]:
        """The weights under their Hugging Face names, gathered a bucket at a time; all ranks read them to the end."""
        return self.learner.weights.tensors(), None

    def save_checkpoint(
        self,
        local_path: str | None,
        hdfs_path: str | None = None,
        global_step: int = 0,
        max_ckpt_to_keep: int | None = None,
        **_: Any,
    ) -> None:
        """DeepSpeed's checkpoint, the place in the schedule, and the weights as a Hugging Face folder `model/`."""
        if local_path is None:
            return
        folder = Path(local_path)
        if dist.get_rank() == 0:
            self._checkpoints.ensure_checkpoint_capacity(max_ckpt_to_keep)
            folder.mkdir(parents=True, exist_ok=True)
        dist.barrier()
        self.learner.save(str(folder))
        if dist.get_rank() == 0:
            (folder / SCHEDULE_FILE).write_text(json.dumps(self.schedule.state_dict()))
            self._checkpoints.register_checkpoint(str(folder), max_ckpt_to_keep)
        dist.barrier()

    def load_checkpoint(
        self, local_path: str | None, hdfs_path: str | None = None, del_local_after_load: bool = False, **_: Any
    ) -> None:
        """Go on where `save_checkpoint` was called, on the same number of ranks."""
        if local_path is None:
            return
        missing = CHECKPOINT_CONTENTS - set(self._checkpoints.checkpoint_load_contents)
        if missing:
            raise ValueError(
                f"checkpoint.load_contents lacks {sorted(missing)}: strategy deepspeed loads all or nothing"
            )
        self.learner.load(local_path)
        self.schedule.load_state_dict(json.loads((Path(local_path) / SCHEDULE_FILE).read_text()))
        for group, rate in zip(self.schedule.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate


def _check_batch(data: TensorDict) -> None:
    for request in UNSUPPORTED_REQUESTS:
        if tu.get_non_tensor_data(data, request, False):
            raise ValueError(f"strategy deepspeed does not support {request}: leave it off")
    images = extract_multi_modal_inputs(data.get("multi_modal_inputs", []))
    if images or not data["input_ids"].is_nested or data["position_ids"].dim() != 2:
        raise ValueError("strategy deepspeed takes text alone, as verl's nested sequences with one position a token")


def _temperature(temperature: Tensor | float) -> float:
    """The one by which all of a micro-batch's logits are divided."""
    values = set(temperature.tolist()) if isinstance(temperature, Tensor) else {float(temperature)}
    if len(values) != 1:
        raise ValueError(f"strategy deepspeed: a batch has one temperature, this one has {sorted(values)}")
    return values.pop()
