"""Our weight-transfer backend: the engine's end of a weight update.

The learner packs tensors into buckets of bounded size. A bucket is a file in shared memory, which every vLLM worker
maps, or is broadcast to all workers through a group that they have joined. vLLM finds the backend by its plug-in entry
point.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)

from rollout.weight_group import GROUP_TIMEOUT_S, WeightGroup

BACKEND = "sharpen_buckets"
NUM_MAPPED = 2  # files of a learner, which takes turns between them


@dataclass
class BucketInitInfo(WeightTransferInitInfo):
    """The group to join, at `address` and `port`, of `size` members, and `first_rank`, that of the engine's first
    worker; without an address nothing has to be agreed on."""

    address: str = ""
    port: int = 0
    size: int = 0
    first_rank: int = 0
    own_address: str = ""


@dataclass
class BucketUpdateInfo(WeightTransferUpdateInfo):
    """One bucket of `num_bytes`: tensor i is at `offsets[i]` (bytes), contiguous, of the file `path`; without one, of
    what is broadcast."""

    path: str
    num_bytes: int
    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]
    offsets: list[int]


class BucketWeightTransferEngine(WeightTransferEngine[BucketInitInfo, BucketUpdateInfo]):
    """Loads buckets in checkpoint format through vLLM's layer-wise reload, as its NCCL backend does."""

    init_info_cls = BucketInitInfo
    update_info_cls = BucketUpdateInfo
    group: WeightGroup | None = None
    memory: torch.Tensor | None = None

    def init_transfer_engine(self, init_info: BucketInitInfo) -> None:
        self.shutdown()
        if init_info.address:
            rank = init_info.first_rank + self.parallel_config.rank
            self.group = WeightGroup(init_info.address, init_info.port, rank=rank, timeout_s=GROUP_TIMEOUT_S)
            self.group.connect(init_info.size, init_info.own_address, self.device)

    def start_weight_update(self) -> None:
        # On CPU vLLM repacks linear weights and drops the originals: only the layer-wise reload can refill them.
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)
        if self.device.type == "cpu":
            leave_unpacked(self.model)

    def receive_weights(self, update_info: BucketUpdateInfo) -> None:
        raw = map_file(update_info.path) if update_info.path else self._receive(update_info.num_bytes)
        self.model.load_weights(read_bucket(update_info, raw, self.device))
        keep_unloaded(self.model, raw)

    def _receive(self, num_bytes: int) -> torch.Tensor:
        assert self.group is not None, "a broadcast comes to those that have joined its group"
        if self.memory is None or len(self.memory) < num_bytes:
            self.memory = torch.empty(num_bytes, dtype=torch.uint8, device=self.device)
        self.group.broadcast(self.memory[:num_bytes])
        return self.memory

    def finish_weight_update(self) -> None:
        self.memory = None  # the cache has the rest of the device
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            pack_tied_heads(self.model)

    def update_weights(self, update_info: dict) -> None:
        self.receive_weights(self.parse_update_info(update_info))

    def shutdown(self) -> None:
        if self.group is not None:
            self.group.close()
            self.group = None

    @staticmethod
    def trainer_send_weights(iterator, trainer_args) -> None:
        raise NotImplementedError("the sending end is rl/weight_sync.py")


def map_file(path: str) -> torch.Tensor:
    """The bytes of a bucket's file, to be read alone; writable, for torch warns of memory that is not.

    A mapping is kept as long as its file: to map the pages anew for each bucket takes as long as to copy them.
    """
    status = os.stat(path)
    return _map_file(path, status.st_ino, status.st_size)


@lru_cache(maxsize=NUM_MAPPED)
def _map_file(path: str, inode: int, size: int) -> torch.Tensor:
    return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)


def read_bucket(info: BucketUpdateInfo, raw: torch.Tensor, device: torch.device) -> list[tuple[str, torch.Tensor]]:
    """The named tensors of a bucket. On its device they are views of `raw`, which a later bucket overwrites."""
    tensors = []
    for name, dtype_name, shape, offset in zip(info.names, info.dtypes, info.shapes, info.offsets, strict=True):
        dtype = getattr(torch, dtype_name)
        count = torch.Size(shape).numel()
        tensor = raw[offset : offset + count * dtype.itemsize].view(dtype).view(shape)
        tensors.append((name, tensor.to(device)))
    return tensors


def keep_unloaded(model: torch.nn.Module, raw: torch.Tensor) -> None:
    """Copy out of a bucket what the reload still waits with: parts of layers whose rest is in a later bucket."""
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

    shared = raw.untyped_storage().data_ptr()
    for layer in model.modules():
        for _, call in get_layerwise_info(layer).loaded_weights:
            for name, value in call.arguments.items():
                if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() == shared:
                    call.arguments[name] = value.clone()


def embeddings_and_heads(model: torch.nn.Module) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """The layers that look tokens up, and the output heads that are layers of their own."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    layers = [module for module in model.modules() if isinstance(module, VocabParallelEmbedding)]
    heads = [module for module in layers if isinstance(module, ParallelLMHead)]
    return [module for module in layers if module not in heads], heads


def leave_unpacked(model: torch.nn.Module) -> None:
    """Have no weight packed for products that only looks tokens up: vLLM does it at each reload.

    Where there is no head, the embedding is the head.
    """
    embeddings, heads = embeddings_and_heads(model)
    if heads:
        for embedding in embeddings:
            embedding.quant_method.process_weights_after_loading = _no_processing


def _no_processing(layer: torch.nn.Module) -> None:
    pass


def pack_tied_heads(model: torch.nn.Module) -> None:
    """Pack the output heads anew that share their weight with the embedding.

    On CPU such a head has a packed copy of its own, and a reload, which brings it no weight, leaves it as it was.
    """
    embeddings, heads = embeddings_and_heads(model)
    pointers = {module.weight.data_ptr() for module in embeddings}
    for head in heads:
        if head.weight.data_ptr() in pointers:
            head.quant_method.process_weights_after_loading(head)


def register() -> None:
    """vLLM's plug-in entry point; worker processes call it too, and some more than once."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, "rollout.weight_receiver", "BucketWeightTransferEngine")
