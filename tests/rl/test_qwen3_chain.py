"""The chain of configs/qwen3: what a stage reads, an earlier one has written, and the docs' commands say the same."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from rl.config_file import load_config
from rl.curation.config import FuseConfig
from rl.memory_plan import PROMPT_TOKENS

ROOT = Path(__file__).parents[2]
CHAIN = load_config(ROOT / "configs/qwen3/all.yaml")
FILES = {
    name: ROOT / stage["config"]
    for name, stage in yaml.safe_load((ROOT / "configs/qwen3/all.yaml").read_text())["stages"].items()
}
COMMANDS = [
    line.split()[2:]
    for line in (ROOT / "docs/qwen3.md").read_text().splitlines()
    if line.startswith("sharpen run") and "all.yaml" not in line
]
MODES = "thinking", "non-thinking"
CURATING = {"curate", "select", "fuse"}


def files_of(name: str) -> set[str]:
    """What a stage leaves in its folder `data`: read off its recipe, where `curate` writes pairs if it is asked to."""
    stage = CHAIN.stage_config(name)
    if stage.recipe not in CURATING:
        return set()
    source = Path(importlib.import_module(f"rl.recipes.{stage.recipe}").__file__ or "").read_text()
    found = set(re.findall(r'data / "([\w.]+)"', source))
    has_pairs = stage.recipe != "curate" or stage.pairs is not None
    return found if has_pairs else found - {"rl_prompts.jsonl"}


def texts(values):
    if isinstance(values, dict | list):
        for inner in values.values() if isinstance(values, dict) else values:
            yield from texts(inner)
    elif isinstance(values, str):
        yield values


def is_yours(text: str, path: str) -> bool:
    """Whether the line of a path, or one that it stands under, is marked."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if path in line)
    depth = len(lines[at])
    for line in reversed(lines[: at + 1]):
        indent = len(line) - len(line.lstrip())
        if indent < depth and line.strip():
            if "YOURS" in line:
                return True
            depth = indent
    return False


@pytest.mark.parametrize("name", CHAIN.stages)
def test_every_file_is_made_earlier_or_yours(name):
    earlier = list(CHAIN.stages)[: list(CHAIN.stages).index(name)]
    named = {text for text in texts(CHAIN.stage_config(name).model_dump(mode="json")) if text.endswith(".jsonl")}
    for path in named:
        if made := re.fullmatch(r"stages/(\w+)/data/(.+)", path):
            assert made[1] in earlier
            assert made[2] in files_of(made[1])
        else:
            assert path.startswith("data/"), f"{path} is written by another run: refer to its stage"
            assert is_yours(FILES[name].read_text(), path), f"{path} is neither made nor marked YOURS"


def test_the_files_that_conversations_and_pairs_come_from():
    """What they are in words: no stage reads another's file by mistake."""
    assert CHAIN.stage_config("reasoning").prompts.sources[0].path == "stages/select/data/rl_prompts.jsonl"
    assert CHAIN.stage_config("select").exclude == [CHAIN.stage_config("cold_start").sources[0].path]
    assert CHAIN.stage_config("select").pairs.model == CHAIN.stage_config("reasoning").model
    assert CHAIN.stage_config("fuse").thinking.model == CHAIN.stage_config("fusion").model == "stages/reasoning/model"
    teach = CHAIN.stage_config("teach")
    assert isinstance(teach, FuseConfig)
    assert teach.thinking.model == teach.without_thinking.model == "stages/general/model"
    assert CHAIN.stage_config("student").teacher.model == "stages/general/model"


def test_the_cold_start_leaves_queries_for_pairs():
    """What is learned from is excluded: without a limit all that could be answered would be."""
    curate, select = CHAIN.stage_config("curate"), CHAIN.stage_config("select")
    assert curate.choose.max_conversations
    left = len(curate.queries) * curate.query_filters.domain_cap - curate.choose.max_conversations
    assert left > 4 * select.pairs.num_pairs


@pytest.mark.parametrize("name", ["select", "fuse", "teach"])
def test_nothing_is_trained_on_that_is_held_out(name):
    assert [source.path for source in CHAIN.stage_config(name).held_out] == ["stages/curate/data/validation.jsonl"]


def test_every_capability_of_general_rl_has_a_held_out_suite_of_its_own():
    general = CHAIN.stage_config("general")
    suites = {suite.suite: suite for suite in general.evals if not suite.hook}
    both = {f"{name}-{mode}" for name in ("reasoning", "instructions", "preference") for mode in MODES}
    assert suites.keys() == both | {"formats-non-thinking", "modes", "bookkeeping"}
    trained = {source.path for source in general.prompts.sources}
    for name, suite in suites.items():
        assert suite.first, "the guard pairs with the first evaluation"
        assert suite.every_steps == 20
        path = suite.source.path if suite.source else None
        assert path is None or path not in trained
        assert suite.mode == next((mode for mode in ("non-thinking", "thinking") if name.endswith(mode)), suite.mode)
    reasoning = CHAIN.stage_config("reasoning").evals[0]
    same = {"suite", "source", "mode", "sampling", "samples_per_prompt"}  # one curve, and one line of the report
    assert suites["reasoning-thinking"].model_dump(include=same) == reasoning.model_dump(include=same)


def test_a_model_without_a_thinking_mode_is_told_to_answer_alone():
    asked = CHAIN.stage_config("curate").query_filters.without_thinking
    assert "no reasoning" in asked.system
    assert asked.sampling.max_tokens <= 512


def test_the_commands_of_the_docs_are_the_pipeline():
    assert [command[1].removeprefix("log.name=") for command in COMMANDS] == list(CHAIN.stages)
    made = {}
    for file, named, *overrides in COMMANDS:
        name = named.removeprefix("log.name=")
        config = load_config(ROOT / file, overrides)
        text = config.model_dump_json(exclude={"log"})
        for earlier, num_steps in made.items():
            text = text.replace(f"runs/{earlier}/checkpoints/step-{num_steps}/model", f"stages/{earlier}/model")
            text = text.replace(f"runs/{earlier}/data/", f"stages/{earlier}/data/")
        assert text == CHAIN.stage_config(name).model_dump_json(exclude={"log"})
        made[name] = config.num_steps


def limits(values, path=""):
    """Every limit of a response, where it stands."""
    if isinstance(values, dict):
        for key, inner in values.items():
            if key == "sampling":
                yield f"{path}.{key}", inner["max_tokens"]
            else:
                yield from limits(inner, f"{path}.{key}")
    elif isinstance(values, list):
        for number, inner in enumerate(values):
            yield from limits(inner, f"{path}.{number}")


def test_a_response_may_be_as_long_in_every_stage():
    longest = CHAIN.stage_config("reasoning").sampling.max_tokens
    for name, stage in ((name, CHAIN.stage_config(name)) for name in CHAIN.stages):
        short = {".query_filters.without_thinking.sampling"} | {
            f".evals.{number}.sampling" for number, e in enumerate(getattr(stage, "evals", [])) if e.hook
        }
        for where, limit in limits(stage.model_dump(mode="json")):
            assert limit == longest or where in short, f"{name}{where}"
        if stage.recipe == "sft":
            assert stage.max_tokens == longest + PROMPT_TOKENS, "what was paid for is not dropped"
        if stage.recipe == "grpo":
            assert stage.overlong_cache_tokens == longest // 5
