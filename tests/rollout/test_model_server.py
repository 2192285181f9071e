"""Servers as processes: their start, their death, and that nothing of them stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from rollout.model_server import ModelServer, ServerFailed

HEALTHY = """
import http.server, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(source: str, folder: Path, **options) -> ModelServer:
    return ModelServer(
        "the test's server",
        lambda port: [sys.executable, "-c", textwrap.dedent(source), str(port)],
        log_file=folder / "logs" / "server.txt",
        **{"start_timeout_s": 60} | options,
    )


async def gone(pid: int) -> bool:
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.05)
    return False


def child_of(folder: Path) -> int:
    return int((folder / "logs" / "server.txt").read_text().split("child ")[1].split()[0])


async def test_a_server_is_up_within_its_block_and_gone_with_its_children_after_it(tmp_path):
    async with server(HEALTHY, tmp_path) as running:
        assert running.alive
        assert running.url.startswith("http://127.0.0.1:")
        child = child_of(tmp_path)
        assert psutil.pid_exists(child)
    assert not running.alive
    assert await gone(child)


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("rollout.model_server.STOP_LIMIT_S", 1)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HEALTHY
    async with server(stubborn, tmp_path):
        child = child_of(tmp_path)
    assert await gone(child)


async def test_a_server_that_dies_is_named_with_its_log(tmp_path):
    with pytest.raises(ServerFailed, match=r"the test's server died with code 3; .*server.txt, which ends: no weights"):
        async with server("import sys; sys.exit(print('no weights', flush=True) or 3)", tmp_path):
            pass


async def test_a_server_that_never_answers_ends_at_the_limit(tmp_path):
    silent = "import time; print('loading', flush=True); time.sleep(600)"
    with pytest.raises(ServerFailed, match=r"was not ready within 2 s; .* ends: loading"):
        async with server(silent, tmp_path, start_timeout_s=2):
            pass


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path):
    silent = "import os, time; print('child', os.getpid(), flush=True); time.sleep(600)"

    async def run() -> None:
        async with server(silent, tmp_path):
            pass

    starting = asyncio.create_task(run())
    log = tmp_path / "logs" / "server.txt"
    async with asyncio.timeout(60):
        while not log.exists() or "child" not in log.read_text():  # noqa: ASYNC110 - a process makes it true
            await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await gone(child_of(tmp_path))


async def test_a_server_dies_with_whoever_started_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\nfrom pathlib import Path\nfrom tests.rollout.test_model_server import HEALTHY, server\n"
        "async def main():\n    async with server(HEALTHY, Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n        await asyncio.sleep(600)\nasyncio.run(main())\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(  # noqa: ASYNC220 - starts at once
        [sys.executable, str(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        child = child_of(tmp_path)
        process.send_signal(signal.SIGKILL)
    assert await gone(child)
