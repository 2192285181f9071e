"""The options of commands that judge: workers, models and combinations."""

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

from rewards.judge import JudgeConfig
from rewards.preference import PreferenceConfig
from rewards.scorer import ScorerConfig

MAX_WORKERS = 4  # by default


def scorer_options() -> argparse.ArgumentParser:
    """A parent parser with the options that `read_scorer_config` reads."""
    options = argparse.ArgumentParser(add_help=False)
    workers = min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    options.add_argument("--workers", type=int, default=workers, metavar="N", help=f"processes (default {workers})")
    options.add_argument("--warm-up", action="append", default=[], metavar="TASK", help="load first what it needs")
    options.add_argument("--timeout", type=float, default=10, metavar="S", help="seconds a response (default 10)")
    for name in ("judge", "preference"):
        options.add_argument(f"--{name}", metavar="URL", help=f"the server of the {name} model")
        options.add_argument(f"--{name}-model", default="", metavar="NAME", help="the name that it knows the model by")
    options.add_argument(
        "--combine", type=Path, metavar="FILE.yaml", help="combinations by task, as in rewards.combine"
    )
    return options


def read_scorer_config(options: argparse.Namespace, **more: Any) -> ScorerConfig:
    """The configuration that the options make. Raises ValueError, by the option's name."""
    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers} is below 1")
    if not options.timeout > 0:
        raise ValueError(f"--timeout: {options.timeout} is not above 0 seconds")
    return ScorerConfig(
        num_workers=options.workers,
        timeout_s=options.timeout,
        plugins=options.plugin,
        warm_up=options.warm_up,
        judge=_judge(options),
        preference=_preference(options),
        combine=_combinations(options.combine),
        **more,
    )


def _combinations(path: Path | None) -> Any:
    """What the file holds, which the config reads. Raises ValueError for one that cannot be read."""
    if path is None:
        return {}
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--combine: cannot read {path}: {error}") from error


def _judge(options: argparse.Namespace) -> JudgeConfig | None:
    if not options.judge and not options.judge_model:
        return None
    if not options.judge_model:
        raise ValueError("--judge-model is missing: give the name under which the server knows the judge")
    return JudgeConfig(url=_url("--judge", options.judge), model=options.judge_model)


def _preference(options: argparse.Namespace) -> PreferenceConfig | None:
    if not options.preference and not options.preference_model:
        return None
    return PreferenceConfig(url=_url("--preference", options.preference), model=options.preference_model)


def _url(option: str, url: str | None) -> str:
    if not url:
        raise ValueError(f"{option} is missing: give the address of the server")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{option}: {url!r} does not start with http:// or https://")
    return url
