"""A sharded model's weights under their Hugging Face names: bucket by bucket to engines, and into a folder."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rl.bucket_files import NUM_FILES, BucketFiles
from rl.learner import Bucket, LearnerConfig
from rl.lora import adapted_layers, adapter_parameters, merged, save_adapters, stored_parameters
from rl.models import save_without_weights
from rollout.weight_group import GROUP_TIMEOUT_S, WeightGroup

NamedParameters = list[tuple[str, torch.nn.Parameter]]
ALIGNMENT = 16  # bytes


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class ShardedWeights:
    """The weights of a model that DeepSpeed holds, adapters merged into them where there are some.

    Every method is called on all ranks, in the same order. The model itself is never changed.
    """

    def __init__(self, model: Any, config: LearnerConfig) -> None:
        self.model, self.config = model, config
        self.rank = dist.get_rank()
        self.adapted = adapted_layers(model)

    @cached_property
    def buckets(self) -> list[NamedParameters]:
        """Names and parameters (tied ones once), in buckets of at most `bucket_mib` where one fits."""
        buckets: list[NamedParameters] = []
        room = 0
        for name, parameter in stored_parameters(self.model):
            size = _aligned(getattr(parameter, "ds_numel", parameter.numel()) * parameter.element_size())
            if not buckets or size > room:
                buckets.append([])
                room = self.config.bucket_mib * 2**20
            buckets[-1].append((name, parameter))
            room -= size
        return buckets

    def _gathered(self, bucket: NamedParameters) -> Any:
        import deepspeed

        layers = [self.adapted[name] for name, _ in bucket if name in self.adapted]
        parameters = [p for _, p in bucket] + [p for layer in layers for p in adapter_parameters(layer).values()]
        sharded = self.config.zero_stage == 3
        return deepspeed.zero.GatheredParameters(parameters, enabled=sharded)

    def _as_saved(self, bucket: NamedParameters) -> dict[str, torch.Tensor]:
        """A gathered bucket as checkpoints name and shape it: transformers fuses experts, files have one by one."""
        from transformers.core_model_loading import revert_weight_conversion

        weights = {name: merged(parameter.detach(), self.adapted.get(name)) for name, parameter in bucket}
        return revert_weight_conversion(self.model, weights)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Each weight whole, on every rank, as checkpoints name and shape it. What ZeRO-3 shards is a copy."""
        for bucket in self.buckets:
            with self._gathered(bucket):
                tensors = self._as_saved(bucket)
                if self.config.zero_stage == 3:
                    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
            yield from tensors.items()

    @cached_property
    def _bucket_files(self) -> BucketFiles:
        """Rank 0's, on its own node, which the kernel unlocks with it."""
        return BucketFiles()

    def remove_files(self) -> None:
        if "_bucket_files" in vars(self):
            self._bucket_files.close()

    def write_bucket(self, index: int) -> Bucket | None:
        """Bucket `index` into a file in shared memory; rank 0 answers with what is where in it."""
        path = str(self._bucket_files.paths[index % NUM_FILES]) if self.rank == 0 else ""
        return self._pack(index, path, lambda size: self._mapped(path, size))

    def pack_bucket(self, index: int) -> Bucket | None:
        """Bucket `index` into the sender's memory; rank 0 answers with what is where in it."""
        return self._pack(index, "", self.sender.memory)

    @cached_property
    def sender(self) -> "BucketSender":
        on_gpu = torch.cuda.is_available()
        return BucketSender(torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu"))

    def _pack(self, index: int, path: str, take: Callable[[int], torch.Tensor]) -> Bucket | None:
        """Gather bucket `index`, and on rank 0 write it to the memory that `take(num_bytes)` gives."""
        bucket = self.buckets[index]
        with self._gathered(bucket):
            if self.rank != 0:
                return None
            tensors = self._as_saved(bucket)
            offsets, end = [], 0
            for tensor in tensors.values():
                offsets.append(end)
                end += _aligned(tensor.nbytes)
            memory = take(end)
            for tensor, offset in zip(tensors.values(), offsets, strict=True):
                memory[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
            return {
                "path": path,
                "num_bytes": end,
                "names": list(tensors),
                "dtypes": [str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()],
                "shapes": [list(tensor.shape) for tensor in tensors.values()],
                "offsets": offsets,
            }

    @cached_property
    def _files(self) -> dict[str, torch.Tensor]:
        return {}

    def _mapped(self, path: str, size: int) -> torch.Tensor:
        """At least `size` bytes of a file. Kept: mapping its pages anew takes three times as long as writing them."""
        memory = self._files.get(path)
        if memory is None or len(memory) < size:
            memory = self._files[path] = torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
        return memory

    def save(self, folder: Path, tokenizer: str) -> None:
        """A Hugging Face folder, with the tokenizer of that model."""
        from safetensors.torch import save_file

        index: dict[str, str] = {}
        size = 0
        for number, bucket in enumerate(self.buckets):
            with self._gathered(bucket):
                if self.rank == 0:
                    folder.mkdir(exist_ok=True)
                    name = f"model-{number:05d}.safetensors"
                    tensors = {key: tensor.cpu().contiguous() for key, tensor in self._as_saved(bucket).items()}
                    save_file(tensors, folder / name, metadata={"format": "pt"})
                    index |= dict.fromkeys(tensors, name)
                    size += sum(t.nbytes for t in tensors.values())
        if self.rank == 0:
            content = {"metadata": {"total_size": size}, "weight_map": index}
            (folder / "model.safetensors.index.json").write_text(json.dumps(content))
            save_without_weights(self.model, tokenizer, folder)

    def save_adapters(self, folder: Path, origin: str) -> None:
        """The adapters alone as a folder of peft; nothing without adapters."""
        parameters = adapter_parameters(self.model)
        if parameters:
            with self._gathered(list(parameters.items())):
                if self.rank == 0:
                    tensors = {name: p.detach().cpu().contiguous() for name, p in parameters.items()}
                    save_adapters(self.model, origin, tensors, folder)


class BucketSender:
    """Memory for a bucket on the rank's device, and the group through which rank 0 sends it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.group: Any = None
        self._memory = torch.empty(0, dtype=torch.uint8, device=device)
        self._filled = self._memory

    def memory(self, num_bytes: int) -> torch.Tensor:
        if len(self._memory) < num_bytes:
            self._memory = torch.empty(num_bytes, dtype=torch.uint8, device=self.device)
        self._filled = self._memory[:num_bytes]
        return self._filled

    def open(self, address: str) -> None:
        self.close()
        self.group = WeightGroup(address, timeout_s=GROUP_TIMEOUT_S)

    def broadcast(self) -> None:
        self.group.broadcast(self._filled)

    def close(self) -> None:
        if self.group is not None:
            self.group.close()
            self.group = None
