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
        self._is_learning = False
        self._num_starting = 0
        self._changed = asyncio.Condition()

    async def begin_learning(self) -> None:
        """Waits for engines that are being started, each of which has a limit."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._num_starting == 0)
            self._is_learning = self.shared

    async def end_learning(self) -> None:
        """The learner has given back what it can; without a `begin_learning` nothing changes."""
        async with self._changed:
            self._is_learning = False
            self._changed.notify_all()

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """While an engine is ended, started and given its weights; several may be at once."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_learning)
            self._num_starting += self.shared
        try:
            yield
        finally:
            async with self._changed:
                self._num_starting -= self.shared
                self._changed.notify_all()
