"""The configs of a model's life at real size: each is built, says its batch, and fits the GPUs that it names."""

from pathlib import Path

import pytest
import yaml

from rewards.registry import load_tasks
from rl.config_file import CONFIGS, load_config
from rl.doctor import examine_config
from rl.memory_plan import num_gpus, plan_memory, shortfalls

FOLDER = Path(__file__).parents[2] / "configs" / "qwen3"
FILES = sorted(FOLDER.glob("[0-9]*.yaml"))
STUDENTS = ["0.6B", "1.7B", "4B", "14B", "30B-A3B"]


def load(path: Path, *overrides: str):
    recipe = yaml.safe_load(path.read_text())["recipe"]
    if recipe not in CONFIGS:
        pytest.skip(f"there is no recipe {recipe}")
    return load_config(path, list(overrides))


def check(config) -> None:
    for found in examine_config(config):
        print(f"{found.name}: {found.value} {found.problem}")
    needs = plan_memory(config, on_gpu=True)
    assert needs, "every one of them starts something"
    assert list(shortfalls(config, needs)) == []


def test_all_of_them_are_stages_of_the_chain():
    stages = yaml.safe_load((FOLDER / "all.yaml").read_text())["stages"]
    assert [Path(stage["config"]).name for stage in stages.values()] == [path.name for path in FILES]


def test_the_chain_fits_the_gpus_that_its_files_name():
    found = list(examine_config(load_config(FOLDER / "all.yaml")))
    assert {each.problem for each in found} == {""}
    assert sum("together" in each.name for each in found) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_fits_the_gpus_that_it_names(path):
    check(load(path))


@pytest.mark.parametrize("size", STUDENTS)
def test_every_student_fits(size):
    check(load(FOLDER / "7-distill_off_policy.yaml", f"model=Qwen/Qwen3-{size}-Base"))


def test_the_large_ones_use_all_their_gpus_and_would_not_fit_on_smaller_ones():
    for name in ("2-cold_start", "3-reasoning_rl", "6-general_rl"):
        config = load(FOLDER / f"{name}.yaml")
        needs = plan_memory(config, on_gpu=True)
        assert num_gpus(needs) == 8
        smaller = config.model_copy(update={"hardware": config.hardware.model_copy(update={"gpu_gib": 78})})
        assert any("learner" in text for text in shortfalls(smaller, needs))


@pytest.mark.parametrize("name", ["1-curate", "2b-select", "4-fuse", "6b-teach"])
def test_data_are_made_with_all_gpus(name):
    assert num_gpus(plan_memory(load(FOLDER / f"{name}.yaml"), on_gpu=True)) == 8


def test_general_rl_mixes_over_twenty_tasks_in_both_modes():
    config = load(FOLDER / "6-general_rl.yaml")
    sources = config.prompts.sources
    tasks = {source.task for source in sources if source.task} | {"reasoning_gym"}
    assert len(tasks) > 20
    assert tasks <= set(load_tasks())
    assert {"tool_call", "agent_env"} <= tasks
    weights = {mode: sum(s.weight for s in sources if s.thinking is mode) for mode in (True, False)}
    assert min(weights.values()) > 0.3 * sum(weights.values())


def test_reasoning_rl_is_off_policy_and_says_so():
    config = load(FOLDER / "3-reasoning_rl.yaml")
    assert config.learner.updates_per_step == 4
    assert "128 prompts a step x 16 samples a prompt = 2048 sequences a step" in config.in_words()
    assert config.overlong_cache_tokens == config.sampling.max_tokens // 5
