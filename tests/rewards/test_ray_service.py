"""The same app under Ray Serve. Needs the packages of `ray[serve]`."""

import subprocess
import sys
import time

import httpx
import psutil
import pytest

from rewards.ray_service import serve_on_ray
from rewards.service_config import ServiceConfig
from rewards.service_server import bind
from tests.rewards.serving import START_LIMIT_S, read_log, wait_until_ready

SEVEN = {"task": "math", "response": "\\boxed{7}", "reference": 7}


def has_serve():
    try:
        from ray import serve
    except ImportError:
        return None
    return serve


def test_options_are_checked_before_a_cluster_is_started(monkeypatch):
    with pytest.raises(ValueError, match="--host: 0"):
        serve_on_ray(ServiceConfig(), "0.0.0.0", 0, min_replicas=1, max_replicas=1, no_auth=False)
    with pytest.raises(ValueError, match="--replicas: 0"):
        serve_on_ray(ServiceConfig(), "127.0.0.1", 0, min_replicas=1, max_replicas=0, no_auth=False)
    with pytest.raises(ValueError, match="--min-replicas: 2 is not between 1 and --replicas, 1"):
        serve_on_ray(ServiceConfig(), "127.0.0.1", 0, min_replicas=2, max_replicas=1, no_auth=False)
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TEST_TOKEN is not set"):
        serve_on_ray(
            ServiceConfig(token_env="TEST_TOKEN"), "127.0.0.1", 0, min_replicas=1, max_replicas=1, no_auth=False
        )


@pytest.mark.skipif(has_serve() is not None, reason="Ray Serve is installed")
def test_what_is_not_installed_is_named():
    with pytest.raises(ValueError, match=r"--ray: Ray Serve cannot be imported .* pip install 'ray\[serve\]'"):
        serve_on_ray(ServiceConfig(), "127.0.0.1", 0, min_replicas=1, max_replicas=1, no_auth=False)


def wait_for_replicas(url, num):
    """The names of as many replicas, each of which has answered."""
    names, deadline = set(), time.monotonic() + START_LIMIT_S
    while len(names) < num:
        assert time.monotonic() < deadline, f"{names} alone answered"
        names.add(httpx.get(f"{url}/health", timeout=60).json()["replica"])
    return names


def wait_for_metric(url, series):
    """Returns when the replica that is meant has judged something."""
    deadline = time.monotonic() + START_LIMIT_S
    while series not in httpx.get(f"{url}/metrics", timeout=60).text:
        assert time.monotonic() < deadline, f"{series} is in no replica's metrics"
        httpx.post(f"{url}/v1/score", json=SEVEN, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(has_serve() is None, reason="Ray Serve cannot be imported: pip install 'ray[serve]'")
def test_replicas_judge_as_the_service_does(tmp_path):
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    arguments = ["rewards", "serve", "--ray", "--min-replicas", "2", "--replicas", "2", "--workers", "1"]
    arguments += ["--port", str(port)]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "rl.cli", *arguments], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        assert httpx.post(f"{url}/v1/score", json=SEVEN, timeout=60).json()["score"] == 1
        batch = httpx.post(f"{url}/v1/score/batch", json={"requests": [SEVEN, {}]}, timeout=60).json()
        assert [result["score"] for result in batch["results"]] == [1, None]
        lines = httpx.post(f"{url}/v1/score/stream", json={"requests": [SEVEN] * 3}, timeout=60).text.splitlines()
        assert len(lines) == 3
        assert httpx.get(f"{url}/docs", timeout=60).status_code == 200
        for name in wait_for_replicas(url, 2):
            judged = f'sharpen_rewards_latency_seconds_count{{replica="{name}",task="math"}}'
            wait_for_metric(url, judged)
        while not any(line["event"] == "serving" for line in read_log(tmp_path / "log")):
            assert process.poll() is None
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(START_LIMIT_S) == 0
        assert not psutil.wait_procs(children, timeout=60)[1]
    finally:
        process.kill()
        process.wait()
