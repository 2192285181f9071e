"""Signals: the step in hand is finished and saved, then the run leaves."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rl.checkpoint import Checkpointer

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def stop_on_signal(checkpointer: Checkpointer) -> AsyncIterator[None]:
    """SIGTERM and Ctrl-C ask the checkpointer to stop; a second one ends the run at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "runs inside a task"

    def stop() -> None:
        if checkpointer.stopping:
            task.cancel()
        checkpointer.stopping = True

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
