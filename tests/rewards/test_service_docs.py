"""docs/service.md does what it says: its commands parse, its calls and its programs run."""

import argparse
import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rewards.cli import add_commands
from rewards.scorer import ScorerConfig
from rewards.serve_command import DEFAULT_PORT
from rewards.service_config import ServiceConfig
from tests.rewards.serving import open_service
from tests.rewards.verl_examples import FIELDS, verl_config, verl_data

DOCS = (Path(__file__).parents[2] / "docs/service.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS, re.DOTALL)
ADDRESS = f"http://127.0.0.1:{DEFAULT_PORT}"


def blocks(language):
    found = [text for name, text in BLOCKS if name == language]
    assert found
    return found


@pytest.fixture(scope="module")
def url():
    with open_service(ServiceConfig(scorer=ScorerConfig())) as (url, _):
        yield url


def test_its_commands_are_commands_of_ours():
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    for line in blocks("sh")[0].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "sharpen"
        assert parser.parse_args(arguments).run


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("command", blocks("bash"))
def test_its_calls_are_answered(url, command):
    assert ADDRESS in command
    done = subprocess.run(["bash", "-c", command.replace(ADDRESS, url)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    scores = re.findall(r'"(?:score|rewards)":\[?([\d.]+)', done.stdout)
    assert "/v1/tasks" in command or scores == ["1.0"] or json.loads(done.stdout) == 1


@pytest.mark.parametrize("program", blocks("python"))
def test_its_programs_run(url, program, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(program.replace(ADDRESS, url))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("1.0 ok", "[1.0]")


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_configs_are_verls(url, tiny_model, text):
    loop = pytest.importorskip("verl.experimental.reward_loop.reward_loop")
    from omegaconf import OmegaConf

    config = OmegaConf.merge(verl_config(tiny_model), OmegaConf.create(text.replace(ADDRESS, url)))
    worker = loop.RewardLoopWorker(config)
    data = verl_data(worker.input_tokenizer, ["\\boxed{7}", "\\boxed{8}"], **FIELDS)
    answers = asyncio.get_event_loop().run_until_complete(worker.compute_score_batch(data))
    assert [answer["reward_score"] for answer in answers] == [1, 0]


def test_it_names_every_metric_path_and_number(url):
    exposed = set(re.findall(r"^# HELP (\w+) ", httpx.get(f"{url}/metrics").text, re.MULTILINE))
    assert {name for name in exposed if not name.endswith("_created")} == set(
        re.findall(r"^\| `(sharpen_rewards_\w+)`", DOCS, re.MULTILINE)
    )
    for path in httpx.get(f"{url}/openapi.json").json()["paths"]:
        assert path in DOCS
    config = ServiceConfig()
    assert f"`--max-request-mib` ({config.max_request_mib:g}), `--max-batch` ({config.max_batch})" in DOCS
    assert f"`--max-queue` ({config.max_queue}) and `--max-queue-mib` ({config.max_queue_mib:g})" in DOCS
    assert f"The last {config.remember:,} ids" in DOCS
