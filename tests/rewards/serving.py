"""Real services for the tests: this process's in a thread, or the command's in a process of its own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from rewards.service_config import ServiceConfig
from rewards.service_server import DrainingServer, bind, make_server

PLUGIN = str(Path(__file__).parent / "service_plugins.py")
START_LIMIT_S = 120.0


@contextmanager
def open_service(config: ServiceConfig) -> Iterator[tuple[str, DrainingServer]]:
    """The URL and the server; ready when it is given, ended with the block."""
    server = make_server(config)
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until_ready(url)
        yield url, server
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server ends"


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/ready", timeout=START_LIMIT_S).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} was not ready within {START_LIMIT_S} s")


@contextmanager
def run_command(log: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL and the process of `sharpen rewards serve` on any port, with its standard error in a file."""
    command = [sys.executable, "-m", "rl.cli", "rewards", "serve", "--port", "0", "--workers", "1", *arguments]
    with open(log, "wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=os.environ | environment)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not (url := next((line["url"] for line in read_log(log) if line["event"] == "serving"), None)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        wait_until_ready(url)
        yield url, process
    finally:
        process.kill()
        process.wait()


def read_log(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
