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
        serve_on_ray(ServiceConfig(), "0.0.0.0", 0, max_replicas=1, no_auth=False)
    with pytest.raises(ValueError, match="--replicas: 0"):
        serve_on_ray(ServiceConfig(), "127.0.0.1", 0, max_replicas=0, no_auth=False)
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TEST_TOKEN is not set"):
        serve_on_ray(ServiceConfig(token_env="TEST_TOKEN"), "127.0.0.1", 0, max_replicas=1, no_auth=False)


@pytest.mark.skipif(has_serve() is not None, reason="Ray Serve is installed")
def test_what_is_not_installed_is_named():
    with pytest.raises(ValueError, match=r"--ray: Ray Serve cannot be imported .* pip install 'ray\[serve\]'"):
        serve_on_ray(ServiceConfig(), "127.0.0.1", 0, max_replicas=1, no_auth=False)


@pytest.mark.slow
@pytest.mark.skipif(has_serve() is None, reason="Ray Serve cannot be imported: pip install 'ray[serve]'")
def test_replicas_judge_as_the_service_does(tmp_path):
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    arguments = ["rewards", "serve", "--ray", "--replicas", "2", "--workers", "1", "--port", str(port)]
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
