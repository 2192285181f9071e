"""The group through which weights go: real gloo over loopback, a thread a member."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import pytest
import torch

from rollout.weight_group import BROKEN, GroupBroken, WeightGroup

HERE, CPU = "127.0.0.1", torch.device("cpu")


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def meet(pool: ThreadPoolExecutor, size: int, timeout_s: float) -> list[WeightGroup]:
    root = WeightGroup(HERE, timeout_s=timeout_s)
    others = [WeightGroup(HERE, root.port, rank=rank, timeout_s=timeout_s) for rank in range(1, size)]
    members = [root, *others]
    for connected in [pool.submit(member.connect, size, HERE, CPU) for member in members]:
        connected.result(timeout=30)
    return members


def buffers(size: int) -> list[torch.Tensor]:
    return [torch.full((1000,), 7, dtype=torch.uint8)] + [torch.zeros(1000, dtype=torch.uint8) for _ in range(size - 1)]


def after(delay_s: float, act: Callable[[], None]) -> None:
    threading.Timer(delay_s, act).start()


def test_all_get_what_the_first_has(threads):
    members, memory = meet(threads, 3, 30), buffers(3)
    for value in (7, 8):
        memory[0].fill_(value)
        for sent in [threads.submit(one.broadcast, piece) for one, piece in zip(members, memory, strict=True)]:
            sent.result(timeout=30)
        assert all((piece == value).all() for piece in memory)
    for member in members:
        member.close()


def test_it_listens_on_its_own_address_alone(threads):
    before = {connection.laddr for connection in psutil.Process().net_connections() if connection.status == "LISTEN"}
    members = meet(threads, 2, 30)
    found = {connection.laddr for connection in psutil.Process().net_connections() if connection.status == "LISTEN"}
    for member in members:
        member.close()
    assert {address.ip for address in found - before} == {HERE}


def test_a_member_that_leaves_ends_the_wait_of_the_others_at_once(threads):
    members, memory = meet(threads, 3, 600), buffers(3)
    waiting: list[Future[None]] = [
        threads.submit(members[rank].broadcast, memory[rank]) for rank in (1, 2)
    ]  # for the root, which never sends
    after(0.2, members[0].close)
    for call in waiting:
        with pytest.raises(GroupBroken, match=BROKEN):
            call.result(timeout=60)  # not by the group's own limit of 600 s


def test_a_member_that_does_not_come_is_waited_for_no_longer_than_the_limit():
    alone = WeightGroup(HERE, timeout_s=0.5)
    with pytest.raises(GroupBroken, match=BROKEN):
        alone.connect(2, HERE, CPU)
    alone.close()


def test_there_is_nobody_to_join_after_the_first_has_left():
    root = WeightGroup(HERE, timeout_s=0.5)
    port = root.port
    root.close()
    with pytest.raises(GroupBroken, match=BROKEN):
        WeightGroup(HERE, port, rank=1, timeout_s=0.5)
