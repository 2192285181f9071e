"""A process group of learner rank 0 and the workers of engines, beside those that each has: weights go through it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

GROUP_TIMEOUT_S = 120.0  # for the others to come, or to take a bucket; below the limit of a call to an engine
BLOCKING = "TORCH_NCCL_BLOCKING_WAIT"
BROKEN = "the group for weights is broken"  # how a GroupBroken is known where only its text arrives


class GroupBroken(RuntimeError):
    """A member is gone, or did not come in time. The group is of no more use to any of them."""


@contextmanager
def _named() -> Iterator[None]:
    """What torch raises here is always about the connection."""
    try:
        yield
    except RuntimeError as error:
        raise GroupBroken(f"{BROKEN}: {str(error).partition(chr(10))[0][:300]}") from error


class WeightGroup:
    """NCCL where the members have GPUs, gloo elsewhere. Rank 0 makes it on a free port of its `address`, others join.

    Members meet in `connect`. There and in `broadcast` GroupBroken is raised where one is gone or does not come within
    `timeout_s`; how long NCCL itself waits for members to meet is its own affair.
    """

    def __init__(self, address: str, port: int = 0, *, rank: int = 0, timeout_s: float) -> None:
        self.address, self.rank = address, rank
        self.timeout = timedelta(seconds=timeout_s)
        self._backend: Any = None
        if rank == 0:
            listener = socket.create_server((address, 0))  # torch's own would listen on all interfaces
            self.port = listener.getsockname()[1]
            options = {"is_master": True, "wait_for_workers": False, "master_listen_fd": listener.detach()}
        else:
            self.port, options = port, {"is_master": False}
        with _named():
            self._store = dist.TCPStore(address, self.port, timeout=self.timeout, **options)

    def connect(self, size: int, own_address: str, device: torch.device) -> None:
        """Wait for all `size` members. `own_address` is where this one listens for the others."""
        make = self._nccl if device.type == "cuda" else self._gloo
        with _named():
            self._backend = make(size, own_address)
            if device.type == "cuda":  # else NCCL's members meet at their first broadcast
                self._backend.eager_connect_single_device(device)

    def _gloo(self, size: int, own_address: str) -> Any:
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=own_address)]
        options._timeout = self.timeout
        return dist.ProcessGroupGloo(self._store, self.rank, size, options)

    def _nccl(self, size: int, own_address: str) -> Any:
        """By default a member that does not come would end this process, not the wait."""
        before = os.environ.get(BLOCKING)
        os.environ[BLOCKING] = "1"
        try:
            options = dist.ProcessGroupNCCL.Options()
            options._timeout = self.timeout
            return dist.ProcessGroupNCCL(self._store, self.rank, size, options)
        finally:
            os.environ.pop(BLOCKING)
            os.environ |= {} if before is None else {BLOCKING: before}

    def broadcast(self, buffer: torch.Tensor) -> None:
        """Rank 0's bytes to all. When it returns, the buffer may be read and written anew."""
        with _named():
            self._backend.broadcast(buffer, root=0).wait()
        if buffer.is_cuda:
            torch.cuda.synchronize(buffer.device)

    def close(self) -> None:
        """Leave, alone, whatever the others do; who still waits for this member is told.

        gloo closes its connections when nothing refers to it any more. NCCL's orderly end would wait for the others.
        """
        if self._backend is not None and self._backend.name() == "nccl":
            with suppress(RuntimeError):  # of a communicator that is broken already
                self._backend.abort()
        self._backend = self._store = None
