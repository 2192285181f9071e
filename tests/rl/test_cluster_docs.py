"""What docs/cluster.md and examples/cluster show is accepted by the code as it is."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from rl.cluster import RayConfig
from rl.config_file import find_config, load_config
from rl.placement import Node, PlacementConfig, Role, describe, make_needs, make_plan

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cluster.md").read_text()
JOB = yaml.safe_load((ROOT / "examples/cluster/rayjob.yaml").read_text())
SCRIPT = ROOT / "examples/cluster/slurm.sh"


def overrides(command: str) -> list[str]:
    return [word for word in shlex.split(command) if re.match(r"(ray|log)\.[\w.]+=", word)]


def test_the_config_of_the_page_is_one():
    first, colocated = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert RayConfig.model_validate(first["ray"]).placement.scorer.cpus == 16
    changes = [f"{name}={json.dumps(value)}" for name, value in colocated.items()]
    config = load_config(find_config("configs/smoke/grpo.yaml"), changes)
    assert config.ray.placement.shares("engine")


def test_the_log_of_the_page_is_what_is_said():
    nodes = [
        Node(f"10.0.0.{n}", f"10.0.0.{n}", total, total)
        for n, total in ((1, {"CPU": 16, "GPU": 0}), (2, {"CPU": 64, "GPU": 8}), (3, {"CPU": 64, "GPU": 8}))
    ]
    roles = [
        Role(kind="learner", name="learner", count=8, gpus=1),
        Role(kind="engine", name="engine", count=4, gpus=2),
        Role(kind="scorer", name="scorer", cpus=8),
    ]
    needs = make_needs(roles, nodes, PlacementConfig())
    plan = make_plan(needs, nodes)
    assert f"{describe(needs, nodes)}\n{plan.in_words()}" in PAGE


def test_the_manifest_asks_for_what_its_nodes_have():
    (command,) = re.findall(r"bash -c '(.*)'", JOB["spec"]["entrypoint"])
    config = load_config(find_config("configs/smoke/grpo.yaml"), overrides(command))
    groups = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    offered = {
        name for group in groups for name in yaml.safe_load(yaml.safe_load(group["rayStartParams"]["resources"]))
    }
    wanted = {*config.ray.placement.engine.resources, *config.ray.placement.learner.resources}
    assert wanted == offered == {"sharpen_engine", "sharpen_learner"}
    assert subprocess.run(["bash", "-n", "-c", command], timeout=30).returncode == 0
    head_and_workers = 1 + sum(group["replicas"] for group in groups)
    assert config.ray.min_nodes == head_and_workers
    assert f"--resume {config.log.dir}/{config.log.name}" in command


def test_the_manifests_pods_have_what_they_mount():
    spec = JOB["spec"]["rayClusterSpec"]
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert "/dev/shm" in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.mark.parametrize("argument", ["-n", "-u"])
def test_the_slurm_script_is_a_script(argument):
    answer = subprocess.run(["bash", argument, SCRIPT], capture_output=True, text=True, timeout=30, env={})
    assert ("give a config" in answer.stderr) == (argument == "-u")
    assert (answer.returncode == 0) == (argument == "-n"), answer.stderr


def test_the_slurm_scripts_overrides_are_known():
    text = SCRIPT.read_text().replace("\\\n", " ").replace("$head:$port", "10.0.0.1:6379").replace("${#nodes[@]}", "4")
    assert load_config(find_config("configs/smoke/grpo.yaml"), overrides(text)).ray.address == "10.0.0.1:6379"
