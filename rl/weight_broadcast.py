"""Weights from learner rank 0 to all engine workers at once, through a process group of theirs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

from rl.bucket_relay import own_address
from rl.learner import Bucket
from rollout.sampler import EngineHandle, EngineLost
from rollout.weight_group import GROUP_TIMEOUT_S, GroupBroken

MARGIN_S = 30.0  # for calls to get through, beside what they wait for

OnRanks = Callable[[Callable[[Any], Any], str], Any]


class BroadcastBroken(Exception):
    """A member was lost on the way: no engine of the broadcast has complete weights."""


def open_group(rank: Any) -> str:
    """On each learner rank: rank 0 leaves its last group and makes a new one; answers with what went wrong.

    So do `connect_group`, which waits for the engines' workers, and `broadcast_bucket`.
    """
    return _problem(rank, lambda sender: sender.open(own_address()))


def group_address(rank: Any) -> tuple[str, int] | None:
    """Where rank 0's group is found."""
    if rank.learner.rank != 0:
        return None
    group = rank.learner.weights.sender.group
    return group.address, group.port


def connect_group(size: int, rank: Any) -> str:
    return _problem(rank, lambda sender: sender.group.connect(size, sender.group.address, sender.device))


def broadcast_bucket(rank: Any) -> str:
    return _problem(rank, lambda sender: sender.broadcast())


def _problem(rank: Any, act: Callable[[Any], None]) -> str:
    if rank.learner.rank == 0:
        try:
            act(rank.learner.weights.sender)
        except GroupBroken as error:  # the learner itself is well
            return str(error)
    return ""


class WeightBroadcast:
    """The driver's view: a group for as long as the same engines are there, and buckets through it."""

    def __init__(self, on_ranks: OnRanks) -> None:
        self._on_ranks = on_ranks
        self._members: list[EngineHandle] = []

    async def buckets(self, engines: Sequence[EngineHandle], num_buckets: int) -> AsyncGenerator[Bucket, None]:
        """Each bucket as it is being sent. Raises BroadcastBroken where it does not arrive everywhere."""
        if not engines:
            return
        if list(engines) != self._members:
            await self._form(list(engines))
        members, self._members = self._members, []  # broken, until all have arrived
        for index in range(num_buckets):
            bucket = (await self._on_ranks(partial(pack_bucket, index), f"weight bucket {index}"))[0]
            sending = asyncio.ensure_future(self._on_ranks(broadcast_bucket, f"the broadcast of weight bucket {index}"))
            try:
                yield bucket
            finally:  # also where an engine was lost: the learner itself may be
                problem = (await sending)[0]
            if problem:
                raise BroadcastBroken(f"{problem} (at weight bucket {index})")
        self._members = members

    async def _form(self, engines: list[EngineHandle]) -> None:
        await self._act(open_group, "a new group for weights")
        host, port = (await self._on_ranks(group_address, "the address of the group for weights"))[0]
        firsts = [1 + sum(engine.num_workers for engine in engines[:index]) for index in range(len(engines))]
        size = 1 + sum(engine.num_workers for engine in engines)
        joins = [
            engine.join_group({"address": host, "port": port, "size": size, "first_rank": first})
            for engine, first in zip(engines, firsts, strict=True)
        ]
        connect = self._act(partial(connect_group, size), "the group for weights")
        together = asyncio.gather(connect, *joins, return_exceptions=True)
        try:
            problems = [error for error in await asyncio.wait_for(together, GROUP_TIMEOUT_S + MARGIN_S) if error]
        except TimeoutError as error:
            raise BroadcastBroken("an engine did not join the group for weights in time") from error
        for problem in problems:
            if not isinstance(problem, BroadcastBroken | EngineLost):
                raise problem
        if problems:
            raise BroadcastBroken(f"engines and learner did not come together: {problems[-1]}")
        self._members = engines

    async def _act(self, function: Callable[[Any], str], what: str) -> None:
        if problem := (await self._on_ranks(function, what))[0]:
            raise BroadcastBroken(f"{problem} (in {what})")


def pack_bucket(index: int, rank: Any) -> Bucket | None:
    """On all ranks: gather bucket `index`; rank 0 has it ready to be sent, and answers with what is where in it."""
    return rank.learner.weights.pack_bucket(index)
