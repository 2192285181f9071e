"""Calls of an environment that cannot hold up anything else: in threads of their own, within a time limit."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MAX_CALLS_AT_ONCE = 64


class EnvironmentFailure(Exception):
    """An environment crashed, hung or answered with what is no step: our failure, never the policy's."""


class Caller:
    """Calls functions of environments, a bounded number at once; all that goes wrong becomes EnvironmentFailure.

    A function that is not async runs in a daemon thread of its own: one that hangs is left to itself, and takes no
    place from others, nor from the end of the process.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_CALLS_AT_ONCE)

    async def call(self, what: str, timeout_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function answers within the limit, which begins when its turn has come."""
        async with self._places:
            limit = asyncio.timeout(timeout_s)
            try:
                async with limit:
                    if inspect.iscoroutinefunction(function):
                        return await function(*arguments)
                    answer = await _in_thread(function, *arguments)
                    return await answer if inspect.isawaitable(answer) else answer
            # The boundary to code of other people's.
            except Exception as error:
                if limit.expired():
                    raise EnvironmentFailure(f"{what} took more than {timeout_s:g} s") from error
                raise EnvironmentFailure(f"{what} crashed: {type(error).__name__}: {error}"[:500]) from error


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(answer: Any, error: BaseException | None) -> None:
        if not done.done():  # nobody waits any more
            done.set_result((answer, error))

    def work() -> None:
        answer, error = None, None
        try:
            answer = function(*arguments)
        except BaseException as fault:
            error = fault
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=work, daemon=True, name="environment").start()
    answer, error = await done
    if error is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}") if not isinstance(error, Exception) else error
    return answer
