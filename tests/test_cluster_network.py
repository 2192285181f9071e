"""`sharpen run` on three nodes with addresses of their own (network namespaces on a bridge); one is cut off."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import SHARPEN, finish
from tests.test_cluster_end_to_end import ON_CLUSTER, QUICK, STORE, check_steps, last_step, until
from tests.test_end_to_end import SMOKE

pytestmark = pytest.mark.slow

BRIDGE = "shpbr"
SPACES = {"shp2": "10.213.77.2", "shp3": "10.213.77.3", "shp4": "10.213.77.4"}
HEAD, *WORKERS = SPACES
RAY = str(Path(SHARPEN[0]).parent / "ray")


def ip(*words: str, check: bool = True) -> str:
    answer = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    assert answer.returncode == 0 or not check, answer.stderr
    return answer.stdout


def within(space: str, *command: str, folder: str) -> subprocess.Popen[str]:
    """A process of a node: it sees that node's network alone."""
    here = {"PYTHONPATH": str(Path(__file__).parents[1]), "RAY_TMPDIR": folder, "COLUMNS": "200"}
    # This machine's name is not an address of the namespace, and gloo would listen there.
    here |= {"GLOO_SOCKET_IFNAME": "eth0", "VLLM_HOST_IP": SPACES[space]}
    here["RAY_AUTH_MODE"] = "disabled"  # else a head takes a token that this user has, and the others do not
    words = ["ip", "netns", "exec", space, *command]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | here, start_new_session=True)


def remove_spaces() -> None:
    for space in SPACES:
        for process in ip("netns", "pids", space, check=False).split():
            os.kill(int(process), signal.SIGKILL)
        ip("netns", "del", space, check=False)
    ip("link", "del", BRIDGE, check=False)


@pytest.fixture
def network() -> Iterator[str]:
    """Three namespaces on a bridge; the folder for Ray's sockets."""
    if os.geteuid() != 0 or subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"]).returncode != 0:
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("link", "set", BRIDGE, "up")
        for space, address in SPACES.items():
            ip("netns", "add", space)
            ip("link", "add", f"{space}v", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"{space}v", "master", BRIDGE, "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            yield folder
            remove_spaces()
    finally:
        remove_spaces()


def test_a_run_over_the_network_goes_on_when_a_node_is_cut_off(network, tmp_path):
    store, address = f"--object-store-memory={STORE['object_store_memory']}", f"{SPACES[HEAD]}:6379"
    options = ["--num-cpus=2", f"--system-config={json.dumps(QUICK)}", "--include-dashboard=false", store]
    places = [f"--node-ip-address={SPACES[HEAD]}", "--resources", '{"sharpen_learner": 1}']
    within(HEAD, RAY, "start", "--head", "--block", "--port=6379", *places, *options, folder=network)
    for space, cpus in zip(WORKERS, (1, 3), strict=True):
        places = [f"--node-ip-address={SPACES[space]}", "--resources", json.dumps({"sharpen_engine": cpus})]
        options = [f"--address={address}", f"--num-cpus={cpus}", store]
        within(
            space, "bash", "-c", 'until "$@"; do sleep 2; done', "-", RAY, "start", *places, *options, folder=network
        )
    folder = tmp_path / "network"
    changes = [*ON_CLUSTER, f"ray.address={address}", "num_steps=1000", "checkpoint.every_steps=0"]
    changes += ["ray.min_nodes=3", "ray.join_timeout_s=120", f"log.dir={tmp_path}", "log.name=network"]
    start = ["bash", "-c", 'sleep 15; exec "$@"', "-", *SHARPEN, "run", SMOKE]
    process = within(HEAD, *start, *changes, folder=network)
    until(lambda: last_step(folder) >= 2, process, "step 2")
    said = (folder / "log.txt").read_text()
    assert "engine: 1 on 10.213.77.3, 1 on 10.213.77.4" in said
    assert "learner: 1 on 10.213.77.2" in said

    ip("link", "set", "shp3v", "down")
    cut = last_step(folder)
    until(lambda: last_step(folder) >= cut + 20, process, "steps without the node that was cut off")
    process.send_signal(signal.SIGTERM)
    finish(process)
    check_steps(folder)
