"""Signals: the step in hand is finished and saved, then the run leaves."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rl.checkpoint import Checkpointer
from rl.faults import LearnerLost, RunStopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def stop_on_signal(checkpointer: Checkpointer) -> AsyncIterator[None]:
    """SIGTERM and Ctrl-C ask the checkpointer to stop; a second one ends the run at once.

    Raises RunStopped where the learner is lost after that: whoever ends a whole machine wants no restart.
    """
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
    except LearnerLost as error:
        if checkpointer.stopping:
            raise RunStopped(f"{error}, after the run was asked to leave: --resume repeats the step in hand") from error
        raise
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
