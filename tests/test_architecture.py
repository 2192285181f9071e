"""The rules of the house: who may import whom, where the heavy libraries come in, how long things may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("rl", "rollout", "rewards") for path in (ROOT / package).rglob("*.py"))
DOORS = {
    "deepspeed": {"rl/deepspeed_learner.py"},
    "vllm": {"rollout/engine.py", "rollout/weight_receiver.py"},
    "ray": {"rl/cluster.py", "rewards/service.py"},
    "verl": {"rl/cluster.py", "rl/batch.py", "rl/log.py", "rl/verl_plugin.py"},
    "sympy": {"rewards/verifiers/math.py"},
    "math_verify": {"rewards/verifiers/math.py", "rewards/scorer.py"},
}
UNWANTED = {"utils", "common", "core", "base", "helpers", "manager", "trainer", "orchestrator"}
RECIPES_USERS = {"rl/cli.py", "rl/launch.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_house(path):
    package, found = name_of(path).split("/")[0], set(imports(path))
    forbidden = {"rewards": ("rl", "rollout"), "rollout": ("rl", "rewards"), "rl": ()}[package]
    assert not [name for name in found if name.split(".")[0] in forbidden]
    if name_of(path) not in RECIPES_USERS:
        assert not [name for name in found if name.startswith("rl.recipes")]
    for library, doors in DOORS.items():
        if name_of(path) not in doors:
            assert not [name for name in found if name.split(".")[0] == library], f"{library} has other doors"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_things_are_short_and_well_named(path):
    assert path.stem not in UNWANTED
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            limit = 120 if "recipes" in name_of(path) else 60
            assert node.end_lineno - node.lineno < limit, f"{node.name} has {node.end_lineno - node.lineno} lines"


def test_the_loop_has_no_branch():
    path = ROOT / "rl/recipes/grpo.py"
    assert path.read_text().count("\n") <= 120
    (loop,) = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.While)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.If | ast.IfExp | ast.Try)]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("rewards.scorer", ("torch", "ray", "vllm", "transformers", "sympy")),
        ("rl.cli", ("torch", "ray", "vllm", "transformers", "sympy", "pandas")),
    ],
)
def test_light_modules_stay_light(module, unwanted):
    code = f"import sys, {module}; print([m for m in {unwanted!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert answer.stdout.strip() == "[]", answer.stderr
