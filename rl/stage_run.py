"""A stage under way: `sharpen run` in a process of its own, its lines passed on, signals handed to it."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rl.log import RunLog
from rl.progress import duration
from rl.stages import Stage, mark_complete, prepare, steps_left, takes_steps

POLL_S = 0.2
TAIL_BYTES = 4000
MAX_LINE = 1000  # characters of a line that are passed on; the file has them all
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Relay:
    """Signals of ours go to the stage: the first asks it to save, the second to leave at once, the third kills it."""

    def __init__(self) -> None:
        self.num_signals = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def stopping(self) -> bool:
        return self.num_signals > 0

    def receive(self) -> None:
        self.num_signals += 1
        if self.process is not None and self.process.returncode is None:
            number = signal.SIGTERM if self.num_signals < 3 else signal.SIGKILL
            self.process.send_signal(number)


@contextmanager
def relay_signals() -> Iterator[Relay]:
    loop, relay = asyncio.get_running_loop(), Relay()
    for number in SIGNALS:
        loop.add_signal_handler(number, relay.receive)
    try:
        yield relay
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def run_stage(stage: Stage, log: RunLog, relay: Relay, lock: int) -> bool:
    """Run or go on with a stage; answers whether it is complete now, False where a signal stopped it.

    Raises ValueError for a config that does not fit, and ChildProcessError with the end of the stage's log where
    it fails.
    """
    arguments = prepare(stage)
    is_resumed = "--resume" in arguments
    log.stage(f"{stage.title}: {'goes on' if is_resumed else 'starts'}")
    start = time.monotonic()
    code = await _run(stage, arguments, log, relay, lock)
    took = duration(time.monotonic() - start)
    log.write(stage.number, {"pipeline/exit_code": float(code)})
    was_stopped = relay.stopping and (code in (0, -signal.SIGTERM) or relay.num_signals > 1)
    if code != 0 and not was_stopped:
        raise ChildProcessError(
            f"{stage.title} failed with exit code {code} after {took}. Its log {stage.log_file} ends:\n"
            f"{log_end(stage.log_file)}\nGo on with --resume {log.folder} when it is mended"
        )
    if code != 0 or steps_left(stage) > 0 or (was_stopped and not takes_steps(stage)):
        log.message(f"{stage.title} was stopped after {took}")
        return False
    mark_complete(stage)
    return True


async def _run(stage: Stage, arguments: list[str], log: RunLog, relay: Relay, lock: int) -> int:
    """The exit code of the stage's process, minus the signal that ended it."""
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with stage.open_log("ab") as output:
        position = output.tell()
        # A file and no pipe: the stage goes on writing, and saves, when we are killed.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rl.stage_process", str(os.getpid()), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C comes to us alone, and once to the stage
            pass_fds=(lock,),
        )
    relay.process = process
    if relay.stopping:
        process.terminate()
    with stage.open_log("rb") as printed:
        printed.seek(position)
        rest = b""
        ended = asyncio.ensure_future(process.wait())
        while not ended.done():
            await asyncio.wait([ended], timeout=POLL_S)
            rest = _pass_on(rest + printed.read(), stage.name, log)
        _pass_on(rest + printed.read() + b"\n", stage.name, log)
    return ended.result()


def _pass_on(text: bytes, name: str, log: RunLog) -> bytes:
    """Print every whole line, without what controls a terminal; answers with the part of a line that is left."""
    *lines, rest = text.replace(b"\r", b"\n").split(b"\n")
    for line in lines:
        plain = "".join(filter(str.isprintable, line.decode(errors="replace")))[:MAX_LINE]
        if plain.strip():
            log.message(f"{name}: {plain}")
    return rest


def log_end(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return "\n".join(f"  {line}" for line in file.read().decode(errors="replace").splitlines()[-20:])
