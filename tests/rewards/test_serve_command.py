"""`sharpen rewards serve` as a process: its options, its log, and how it ends."""

import argparse
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from rewards.cli import add_commands
from rewards.serve_command import read_config
from tests.rewards.serving import PLUGIN, read_log, run_command

SLOW = {"task": "random_score", "response": "a secret text", "params": {"sleep_s": 2}, "id": "slow"}


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    return parser.parse_args(["rewards", "serve", *arguments])


def is_refused(url):
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 503
    except httpx.TransportError:
        return True


def test_what_is_under_way_is_finished_before_the_end(tmp_path):
    with run_command(tmp_path / "log", "--plugin", PLUGIN) as (url, process), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{url}/v1/score", json=SLOW, timeout=60)
        while "sharpen_rewards_in_flight 1.0" not in httpx.get(f"{url}/metrics", timeout=60).text:
            assert not waiting.done()
        process.send_signal(signal.SIGTERM)
        while not any(line["event"] == "draining" for line in read_log(tmp_path / "log")):
            time.sleep(0.01)
        assert httpx.get(f"{url}/ready", timeout=60).status_code == 503
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        refused = httpx.post(f"{url}/v1/score", json=SLOW | {"id": "new"}, timeout=60)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert not waiting.done()
        assert waiting.result().json()["status"] == "ok"
        assert process.wait(60) == 0
    events = [line["event"] for line in read_log(tmp_path / "log")]
    assert events.index("draining") < len(events) - 1 - events[::-1].index("result") < events.index("stopped")


def test_what_does_not_finish_within_the_limit_is_given_up(tmp_path):
    arguments = ("--plugin", PLUGIN, "--drain-timeout", "0.5", "--timeout", "500")
    endless = SLOW | {"params": {"sleep_s": 400}}
    with run_command(tmp_path / "log", *arguments) as (url, process), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{url}/v1/score", json=endless, timeout=300)
        while "sharpen_rewards_in_flight 1.0" not in httpx.get(f"{url}/metrics", timeout=60).text:
            assert not waiting.done()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert waiting.exception() is not None or waiting.result().status_code >= 500
        assert not psutil.wait_procs(children, timeout=30)[1], "workers end with the service"


def test_the_log_is_json_and_tells_nothing_of_the_texts(tmp_path):
    with run_command(tmp_path / "log", "--plugin", PLUGIN) as (url, process):
        httpx.post(f"{url}/v1/score", json=SLOW | {"params": {}, "reference": "another secret"}, timeout=60)
        httpx.post(f"{url}/v1/score", content=b'{"secret": "third', headers={"Content-Type": "application/json"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    (result,) = [line for line in map(json.loads, lines) if line["event"] == "result"]
    assert (result["id"], result["task"], result["status"], result["ms"] > 0) == ("slow", "random_score", "ok", True)
    assert [line["http_status"] for line in map(json.loads, lines) if line["event"] == "http"] == [400]
    assert "secret" not in "".join(lines)


def test_a_second_signal_does_not_wait(tmp_path):
    arguments = ("--plugin", PLUGIN, "--drain-timeout", "500", "--timeout", "500")
    endless = SLOW | {"params": {"sleep_s": 400}}
    with run_command(tmp_path / "log", *arguments) as (url, process), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{url}/v1/score", json=endless, timeout=300)
        while "sharpen_rewards_in_flight 1.0" not in httpx.get(f"{url}/metrics", timeout=60).text:
            assert not waiting.done()
        process.send_signal(signal.SIGTERM)
        while not is_refused(url):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(120)
        assert waiting.exception() is not None or waiting.result().status_code >= 500


def test_options_are_the_configuration(monkeypatch):
    monkeypatch.delenv("SHARPEN_REWARDS_TOKEN", raising=False)
    arguments = ["--workers", "3", "--timeout", "4", "--plugin", "p", "--memory-mib", "512", "--max-request-mib", "5"]
    config = read_config(parse(*arguments, "--max-batch", "6", "--max-queue", "7", "--remember", "8", "--quiet"))
    scorer = config.scorer
    assert (scorer.num_workers, scorer.timeout_s, scorer.plugins, scorer.memory_mib) == (3, 4, ["p"], 512)
    assert (config.max_request_mib, config.max_batch, config.max_queue, config.remember) == (5, 6, 7, 8)
    assert (config.log_results, config.token_env, config.protect_metrics) == (False, None, False)
    assert read_config(parse("--max-queue", "100000")).remember == 100_000
    assert read_config(parse("--max-request-mib", "2048")).max_queue_mib == 2048


def test_the_token_is_asked_for_where_its_variable_is_set(monkeypatch):
    monkeypatch.setenv("SHARPEN_REWARDS_TOKEN", "secret")
    assert read_config(parse()).token_env == "SHARPEN_REWARDS_TOKEN"
    assert read_config(parse("--no-auth")).token_env is None
    assert read_config(parse("--token-env", "OTHER")).token_env == "OTHER"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers: "),
        (["--timeout", "0"], "--timeout: "),
        (["--max-batch", "0"], "--max-batch: "),
        (["--max-batch", "9", "--max-queue", "8"], "never fit a max_queue of 8"),
        (["--no-auth", "--token-env", "X"], "--no-auth: "),
    ],
)
def test_mistakes_name_the_option(arguments, message):
    with pytest.raises(ValueError, match=message):
        read_config(parse(*arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "name a token by --token-env"),
        (["--token-env", "SHARPEN_TEST_UNSET"], "SHARPEN_TEST_UNSET is not set"),
        (["--plugin", "no_such_module"], "cannot import 'no_such_module'"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(monkeypatch, arguments, message):
    monkeypatch.delenv("SHARPEN_REWARDS_TOKEN", raising=False)
    options = parse("--port", "0", *arguments)
    with pytest.raises(ValueError, match=message):
        options.run(options)
