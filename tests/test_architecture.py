"""The rules of the house: who may import whom, where the heavy libraries come in, how long things may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("rl", "rollout", "rewards") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Read before any test runs: Python 3.11's parser fails beside other threads ("recursion depth mismatch", gh-106905).
TREES = {path: ast.parse(path.read_text()) for path in {*FILES, *TESTS}}
FORBIDDEN = {"rewards": {"rl", "rollout"}, "rollout": {"rl", "rewards"}, "rl": set()}
VERL_PLUGIN = tuple(f"rl/verl_{part}.py" for part in ("plugin", "platform", "config", "engine", "losses"))
DOORS = {  # files, or folders with a slash at the end
    "deepspeed": (
        "rl/deepspeed_learner.py",
        "rl/deepspeed_weights.py",
        "rl/deepspeed_checkpoint.py",
        "rl/deepspeed_operators.py",
        "rl/sequence_parallel.py",
    ),
    "vllm": ("rollout/",),
    "ray": (
        "rl/cluster.py",
        "rl/ray_scorer.py",
        "rl/learner_group.py",
        "rl/nodes.py",
        "rl/bucket_relay.py",
        "rewards/ray_loopback.py",
        "rewards/ray_service.py",  # replicas of the service
    ),
    "verl": ("rl/learner_group.py", "rl/batch.py", "rl/log.py", *VERL_PLUGIN),
    "peft": ("rl/lora.py",),
    "sympy": ("rewards/verifiers/",),
    "math_verify": ("rewards/verifiers/",),
}
UNWANTED = {"utils", "common", "core", "base", "helpers", "manager", "trainer", "orchestrator"}
USERS_OF_RECIPES = {"rl/cli.py", "rl/launch.py"}
HEAVY = ("torch", "ray", "vllm", "verl", "deepspeed", "transformers", "datasets", "pandas", "sympy")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute, so that these rules can read them"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def run_python(code: str) -> str:
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_the_rules_see_the_files():
    assert {"rl/recipes/grpo.py", "rollout/sampler.py", "rewards/tasks/math.py"} <= set(map(name_of, FILES))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path):
    package, found = name_of(path).split("/")[0], set(imports(path))
    assert not FORBIDDEN[package] & {name.split(".")[0] for name in found}
    assert not {name for name in found if name.split(".")[0] in ("tests", "benchmarks")}
    if name_of(path) not in USERS_OF_RECIPES:
        assert not {name for name in found if name.startswith("rl.recipes")}, "recipes are for the command alone"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_have_few_doors(path):
    found = {name.split(".")[0] for name in imports(path)}
    for library, doors in DOORS.items():
        if library in found:
            assert any(
                name_of(path) == door or (door[-1] == "/" and name_of(path).startswith(door)) for door in doors
            ), f"{library} comes in through {', '.join(doors)} only"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_things_are_short_and_well_named(path):
    assert not UNWANTED & set(path.relative_to(ROOT).with_suffix("").parts)
    assert path.read_text().count("\n") <= 300
    limit = 120 if "recipes" in path.parts else 50
    for function in functions(path):
        length = function.end_lineno - function.lineno + 1
        assert length <= limit, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=name_of)
def test_packages_are_empty(path):
    assert path.read_text().count("\n") <= 3


def test_recipes_are_short():
    for path in (ROOT / "rl/recipes").glob("*.py"):
        assert path.read_text().count("\n") < 120, name_of(path)


def test_the_loop_has_no_branch():
    (train,) = [function for function in functions(ROOT / "rl/recipes/grpo.py") if function.name == "train"]
    (loop,) = [node for node in ast.walk(train) if isinstance(node, ast.While)]
    branches = (ast.If, ast.IfExp, ast.Try, ast.Match, ast.For, ast.AsyncFor, ast.Break, ast.Continue)
    assert not [node for node in ast.walk(loop) if isinstance(node, branches)]


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name_of)
def test_doubles_live_in_one_place(path):
    classes = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.ClassDef)]
    assert not [node.name for node in classes if node.name.startswith(("Fake", "Mock", "Stub", "Dummy"))]
    assert not [name for name in imports(path) if name.startswith("unittest.mock")]


def test_rewards_work_without_the_heavy_libraries():
    """Every module of `rewards`, in an interpreter where those that need a door are not installed."""
    blocked = ("torch", "ray", "vllm", "verl", "deepspeed", "transformers")
    code = (
        f"import sys, pkgutil, importlib; sys.modules.update(dict.fromkeys({blocked!r})); import rewards\n"
        "for module in pkgutil.walk_packages(rewards.__path__, 'rewards.'): importlib.import_module(module.name)\n"
        "from rewards.registry import load_tasks; print('math' in load_tasks())"
    )
    assert run_python(code) == "True"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["rewards", "--help"]])
def test_help_is_quick(arguments):
    code = (
        f"import sys; from rl.cli import main\ntry: main({arguments!r})\n"
        f"except SystemExit: print('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    *text, loaded = run_python(code).splitlines()
    assert text[0].startswith("usage: sharpen")
    assert loaded == "loaded []"


def test_the_scorer_starts_light():
    assert run_python(f"import sys, rewards.scorer; print([m for m in {HEAVY!r} if m in sys.modules])") == "[]"


def test_our_tests_hide_the_package_of_that_name_in_a_wheel():
    import tests

    assert Path(str(tests.__file__)).parent == ROOT / "tests"
