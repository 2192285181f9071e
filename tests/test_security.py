"""What docs/security.md promises: who reaches what listens, what is never loaded, and where secrets never are."""

import asyncio
import contextlib
import json
import os
import pickle
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from rewards.calls import JudgeCall, ModelFailure
from rewards.client import HttpScorerConfig
from rewards.endpoint import EndpointConfig
from rewards.judge import JudgeConfig, open_judge
from rewards.ray_loopback import LOOPBACK, SWITCH, loopback_alone, private_folder
from rl.config_file import load_config
from rl.deepspeed_checkpoint import read_as_data
from rl.launch import write_config, write_report
from rl.log import RunLog
from tests.fakes import FakeModelServer

ROOT = Path(__file__).parents[1]
SECRETS = {
    "SHARPEN_API_KEY": "sk-judge-1f7a",
    "SHARPEN_REWARDS_TOKEN": "rewards-9c2b",
    "SHARPEN_UI_TOKEN": "page-5d1e",
    "HF_TOKEN": "hf_hub-77e0",
    "WANDB_API_KEY": "wandb-40aa",
}


def config_file(folder, judge):
    lines = ["num_steps: 1", "groups_per_step: 1", "samples_per_prompt: 2"]
    lines += ["recipe: grpo", "model: package:tiny-qwen3", f"log: {{dir: {folder}, sinks: [tensorboard]}}", "prompts:"]
    lines += [
        "  sources: [{generator: 'rl.arithmetic:problem'}]",
        f"rewards: {{judge: {json.dumps(judge)}}}",
    ]
    path = folder / "c.yaml"
    path.write_text("\n".join(lines))
    return path


def test_no_secret_of_the_environment_comes_into_a_run_folder(tmp_path, monkeypatch, capsys):
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    judge = {"url": "http://127.0.0.1:1/v1", "model": "judge"}
    config = load_config(config_file(tmp_path, judge))
    run = tmp_path / "run"
    run.mkdir()
    write_config(run, config)
    with contextlib.suppress(RuntimeError), RunLog(run, config.log, recipe="grpo", num_steps=1) as log:
        log.message(config.in_words())
        log.write(1, {"reward/mean": 0.5})
        raise RuntimeError("an error, whose traceback is logged")
    write_report(run)
    shown = capsys.readouterr()
    texts = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    texts += [shown.out.encode(), shown.err.encode()]
    assert b"the run stopped" in (run / "log.txt").read_bytes()
    assert b"SHARPEN_API_KEY" in (run / "config.yaml").read_bytes(), "the name of the variable, not what it holds"
    assert len(texts) >= 6
    for secret in SECRETS.values():
        assert not [text for text in texts if secret.encode() in text], secret


@pytest.mark.parametrize(
    "override",
    [
        "rewards.judge.url=http://me:pw-3c41@judge:8000/v1",
        "rewards.judge.url=FTP://pw-3c41@judge",
        "prompts.sources.0.generator=s3://id:pw-3c41@bucket/x.parquet",
        "log.dir=https://pw-3c41@host/",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(tmp_path, override):
    path = config_file(tmp_path, {"url": "http://judge/v1", "model": "judge"})
    with pytest.raises(ValueError, match="user name or password") as caught:
        load_config(path, [override])
    assert override.partition("=")[0] in str(caught.value)
    assert "pw-3c41" not in str(caught.value)


def test_so_it_is_where_no_config_file_is_read():
    for make in (EndpointConfig, HttpScorerConfig):
        with pytest.raises(ValueError, match="user name or password") as caught:
            make(url="http://me:pw-3c41@host/")
        assert "pw-3c41" not in str(caught.value)
        assert make(url="http://host/v1/@me?x=a@b").url.endswith("a@b"), "an @ elsewhere is none"
    for option in (["--api-key", "pw"], ["--api-key=pw"]):
        with pytest.raises(ValueError, match="by api_key_env"):
            EndpointConfig(serve=True, model="m", serve_options=option)


async def test_a_server_that_quotes_our_key_does_not_get_it_into_a_reason(monkeypatch):
    monkeypatch.setenv("SHARPEN_API_KEY", "sk-judge-1f7a")
    with FakeModelServer(["quote key"]) as server:
        endpoint = open_judge(JudgeConfig(url=f"{server.url}/v1", model="m", max_retries=0))
        try:
            with pytest.raises(ModelFailure, match=r"status 401: Bearer \*\*\*") as caught:
                await endpoint.answer(JudgeCall(messages=[{"role": "user", "content": "?"}], response_schema={}))
        finally:
            await endpoint.stop()
    assert server.headers[0]["Authorization"] == "Bearer sk-judge-1f7a"
    assert "1f7a" not in str(caught.value)


class Attack:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def engine_that_reads_data():
    engine = SimpleNamespace(checkpoint_engine=SimpleNamespace(load=None))
    read_as_data(engine)
    return engine.checkpoint_engine


@pytest.mark.parametrize("form", [True, False, None], ids=["zip", "legacy", "plain pickle"])
def test_a_checkpoint_of_others_runs_nothing(tmp_path, form):
    path, mark = tmp_path / "mp_rank_00_model_states.pt", tmp_path / "mark"
    content = {"module": {"w": torch.ones(2)}, "attack": Attack(mark)}
    if form is None:
        path.write_bytes(pickle.dumps(Attack(mark)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form)
    with pytest.raises(ValueError, match=r"mp_rank_00_model_states\.pt is not loaded: it holds more than data"):
        engine_that_reads_data().load(str(path), map_location="cpu")
    assert not mark.exists()


def test_what_deepspeed_saves_is_data(tmp_path):
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    state = {"scale": LossScaler(4.0), "stage": ZeroStageEnum.weights, "at": fragment_address(numel=3, start=1)}
    torch.save(state | {"w": torch.ones(2)}, tmp_path / "s.pt")
    found = engine_that_reads_data().load(str(tmp_path / "s.pt"), map_location="cpu")
    assert (found["scale"].cur_scale, found["stage"], found["at"]) == (4.0, state["stage"], state["at"])


def test_loading_code_of_a_model_is_nowhere_asked_for():
    texts = {
        path: path.read_text() for package in ("rl", "rollout", "rewards") for path in (ROOT / package).rglob("*.py")
    }
    asked = re.compile(r"""trust_remote_code["']?\s*[=:](?!\s*False)|weights_only=False""")
    assert not [path for path, text in texts.items() if asked.search(text)]
    loads = {path.name for path, text in texts.items() if "pickle.load" in text or "torch.load(" in text}
    assert loads == {"worker.py", "deepspeed_checkpoint.py"}, "of the scorer's own pipe, and as data"


def test_what_ray_finds_in_the_environment_is_put_back(monkeypatch):
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)  # as it is where no cluster of ours is alive
    monkeypatch.setenv("VLLM_HOST_IP", "10.0.0.7")
    before = dict(os.environ)
    with loopback_alone():
        assert (os.environ[SWITCH], os.environ["VLLM_HOST_IP"]) == ("0", "127.0.0.1")
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert dict(os.environ) == before
    assert ray_constants.ENABLE_RAY_CLUSTER


def test_rays_folder_is_behind_one_that_only_the_user_may_enter(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = private_folder().parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert stat.S_IMODE(private_folder().parent.stat().st_mode) == 0o700
    folder.rmdir()
    folder.symlink_to("/tmp")
    with pytest.raises(ValueError, match="is not a folder of yours"):
        private_folder()


HOLD = """
import asyncio, sys
from rl.cluster import RayConfig, ray_session
async def main():
    async with ray_session(RayConfig(), num_cpus=1):
        import ray
        actor = ray.remote(num_cpus=0)(type("A", (), {"answer": lambda self: 1})).remote()
        assert await actor.answer.remote() == 1
        print(ray.get_runtime_context().gcs_address, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""
CALL = "import ray; ray.init({address!r}, logging_level='ERROR'); print('in', len(ray.nodes()))"


def listening(process):
    found = set()
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found |= {c.laddr.ip for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def call(host, port, environment):
    """Whether a program becomes a driver of the cluster; Ray tries on for long with a token that is refused.

    It must want loopback as the cluster does: else Ray puts the machine's outer address in the place of 127.0.0.1.
    """
    command = [sys.executable, "-c", CALL.format(address=f"{host}:{port}")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment | LOOPBACK)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "in 1" in done.stdout


@pytest.mark.slow
async def test_a_cluster_of_ours_is_reached_from_here_alone_and_with_its_token(tmp_path):
    process = subprocess.Popen(  # noqa: ASYNC220 - at once
        [sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True, cwd=ROOT
    )
    try:
        address = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 120)
        host, _, port = address.strip().partition(":")
        ips = listening(psutil.Process(process.pid))
        assert len(ips) >= 1
        assert {ip.removeprefix("::ffff:") for ip in ips} == {"127.0.0.1"}
        with contextlib.suppress(OSError):
            outer = socket.gethostbyname(socket.gethostname())
            if not outer.startswith("127."):
                with pytest.raises(OSError, match="refused"):
                    socket.create_connection((outer, int(port)), timeout=5)
        assert await asyncio.to_thread(call, host, port, os.environ | {"RAY_AUTH_MODE": "token"})
        stranger = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        assert not await asyncio.to_thread(call, host, port, os.environ | stranger)
    finally:
        process.stdin.close()
        process.wait(60)
