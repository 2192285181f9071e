"""Many waits at once, a bounded number under way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

MAX_UNDER_WAY = 256

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Show = Callable[[int, int], None]


async def for_each(
    items: Sequence[Item],
    function: Callable[[Item], Awaitable[Answer]],
    show: Show = lambda done, total: None,
    limit: int = MAX_UNDER_WAY,
) -> list[Answer]:
    """The answers in the order of the items. The first failure ends all others and is raised."""
    slots = asyncio.Semaphore(limit)
    num_done = 0

    async def one(item: Item) -> Answer:
        nonlocal num_done
        async with slots:
            answer = await function(item)
        num_done += 1
        show(num_done, len(items))
        return answer

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
