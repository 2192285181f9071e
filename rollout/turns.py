"""Engines and a learner that share memory: whoever does not work has given its part back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Whose turn it is. From `begin_learning` to `end_learning` it is the learner's, and no engine is started then.

    Where nothing is `shared`, nobody waits for anybody.
    """

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self._memory = asyncio.Lock()
        self._is_learning = False

    async def begin_learning(self) -> None:
        """Waits for engines that are being started."""
        if self.shared:
            await self._memory.acquire()
            self._is_learning = True

    def end_learning(self) -> None:
        """The learner has given back what it can; without a `begin_learning` nothing changes."""
        if self._is_learning:
            self._is_learning = False
            self._memory.release()

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """While an engine is started and given its weights."""
        if not self.shared:
            yield
            return
        async with self._memory:
            yield
