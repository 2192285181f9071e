"""`sharpen run` on a cluster of three nodes (raylets of this machine): placement, weights over nodes, a lost node."""

import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from rl.log import read_metrics
from tests.commands import LIMIT_S, finish, start_run
from tests.test_end_to_end import SMOKE, samples

pytestmark = pytest.mark.slow

STORE = {"object_store_memory": 100 * 2**20}
# So that a lost node is noticed within seconds; Ray's own settings take half a minute.
QUICK = {"health_check_initial_delay_ms": 2000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
ON_CLUSTER = [
    "engine.num_engines=2",
    "ray.placement.engine.resources={sharpen_engine: 1}",
    "ray.placement.learner.resources={sharpen_learner: 1}",
    "learner.optimizer.lr=1.0e-5",  # slow enough for every step to have something to learn
]


class ThreeNodes:
    """A head for learner and scorer, and two nodes for engines, of which `roomy` can take both."""

    def __init__(self) -> None:
        resources = {"sharpen_learner": 1}
        head = {"num_cpus": 2, "resources": resources, "include_dashboard": False, "_system_config": QUICK, **STORE}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.small = self.cluster.add_node(num_cpus=1, resources={"sharpen_engine": 1}, **STORE)
        self.roomy = self.cluster.add_node(num_cpus=3, resources={"sharpen_engine": 2}, **STORE)

    def engines(self) -> Counter[str]:
        """Living engines, by the id of their node."""
        actors: Any = self.cluster.global_state.actor_table(None)
        living = [actor for actor in actors.values() if actor["State"] == "ALIVE"]
        return Counter(actor["Address"]["NodeID"] for actor in living if actor["ActorClassName"] == "Engine")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreeNodes]:
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # pytest's are too long for the paths of sockets
        monkeypatch.setenv("RAY_TMPDIR", folder)
        three = ThreeNodes()
        try:
            yield three
        finally:
            three.cluster.shutdown()


def until(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"{what}: not within {LIMIT_S} s"
        time.sleep(0.2)


def last_step(folder: Path) -> int:
    return max((row["step"] for row in read_metrics(folder)), default=-1)


def check_steps(folder: Path) -> None:
    """Every step has its own draws, all of them, from engines with the learner's weights."""
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == list(range(len(rows)))
    for row in rows[1:]:
        step = row["step"]
        drawn = [group["draw"] for group in samples(folder, step)]
        assert drawn == list(range(8 * (step - 1), 8 * step)), "no prompt is lost, and none counted twice"
        assert all(len(group["responses"]) == 8 for group in samples(folder, step))
        assert row["loss/mismatch_kl"] < 1e-8, "engines on other nodes, old and new, have the learner's weights"
        assert row["reward/error_rate"] == row["rollout/staleness_max"] == 0


@pytest.mark.parametrize("transfer", ["host", "broadcast"])
def test_a_run_goes_on_when_the_node_of_an_engine_is_lost(nodes, tmp_path, transfer):
    folder = tmp_path / "three"
    address = f"ray.address={nodes.cluster.address}"
    changes = [*ON_CLUSTER, address, "num_steps=1000", "checkpoint.every_steps=0", "engine.stall_timeout_s=30"]
    changes.append(f"learner.weight_transfer={transfer}")
    process = start_run(SMOKE, tmp_path, "log.name=three", *changes)
    until(lambda: last_step(folder) >= 2, process, "step 2")
    assert nodes.engines() == {nodes.small.node_id: 1, nodes.roomy.node_id: 1}
    said = (folder / "log.txt").read_text()
    assert "the run needs 1 x learner of 1 CPU + 1 sharpen_learner; 2 x engine of 1 CPU + 1 sharpen_engine;" in said
    assert "the cluster has 3 nodes" in said

    nodes.cluster.remove_node(nodes.small, allow_graceful=False)
    until(lambda: nodes.engines()[nodes.roomy.node_id] == 2, process, "the second engine on the node that is left")
    back = last_step(folder)
    until(lambda: last_step(folder) >= back + 20, process, "steps while the second engine loads, and with it")
    process.send_signal(signal.SIGTERM)
    finish(process)

    check_steps(folder)


def test_what_cannot_start_is_refused_before_it_starts(nodes, tmp_path):
    def refused(name: str, *changes: str) -> str:
        process = start_run(SMOKE, tmp_path, f"log.name={name}", f"ray.address={nodes.cluster.address}", *changes)
        errors = process.communicate(timeout=LIMIT_S)[1]
        assert process.returncode == 2, errors[-3000:]
        return errors

    errors = refused("many", *ON_CLUSTER, "learner.num_ranks=4")
    assert "7 CPUs wanted (learner 4, engine 2, scorer 1), 6 free in all" in errors
    errors = refused("apart", "engine.num_engines=1", "ray.placement.engine.cpus=4")
    assert "engine: one process takes 4 CPUs of a single node, and no node has more than 3 free (6 in all)" in errors
    errors = refused("few", "ray.min_nodes=4", "ray.join_timeout_s=3")
    assert "ray.min_nodes is 4, 3 came within 3 s" in errors
    assert not nodes.engines()


def test_where_no_cluster_is_the_run_ends_at_once(tmp_path):
    process = start_run(SMOKE, tmp_path, "log.name=nobody", "ray.address=127.0.0.1:1")
    errors = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 2, errors[-3000:]
    assert "ray.address: no cluster answers at 127.0.0.1:1" in errors
