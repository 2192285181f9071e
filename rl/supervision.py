"""A run that outlives its learner and its scorer: from the newest checkpoint again, as after a kill and `--resume`."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rl.checkpoint import CheckpointConfig, latest_step
from rl.config import RecipeConfig
from rl.faults import PartLost, RunStopped, ending
from rl.log import RunLog

Recipe = Callable[[Any, RunLog], Coroutine[Any, Any, None]]


def run_supervised(recipe: Recipe, config: RecipeConfig, folder: Path) -> RunLog:
    """Run a recipe in a folder to its end, over losses of its learner or scorer; answers with the log, closed.

    All parts are closed and opened anew, so what follows is what a resume would give, to the bit. Raises RunStopped
    after `checkpoint.max_restarts`, or where a part is lost twice without a new checkpoint in between.
    """
    restarts: list[int] = []  # the steps from which it was run again
    news: tuple[str, str] | None = None
    with ending(folder):
        while True:
            try:
                with RunLog(folder, config.log, recipe=config.recipe, num_steps=config.num_steps) as log:
                    log.message(f"run folder {folder}")
                    log.message(config.in_words())
                    if news:
                        log.event(*news)
                    asyncio.run(recipe(config, log))
                return log
            except PartLost as error:
                step = latest_step(folder / "checkpoints")
                _check_restart(error, step, restarts, config, folder)
                restarts.append(step)
                news = error.event, f"{error}: all parts start again from step {step} (restart {len(restarts)})"


def _check_restart(error: PartLost, step: int, restarts: list[int], config: RecipeConfig, folder: Path) -> None:
    """Raise RunStopped where another start would be one too many."""
    limit = getattr(config, "checkpoint", CheckpointConfig()).max_restarts
    if len(restarts) >= limit:
        why = f"checkpoint.max_restarts = {limit} allows no other start"
    elif restarts and step <= restarts[-1]:
        why = f"it was lost before, and no checkpoint was made since (the newest is of step {step})"
    else:
        return
    raise RunStopped(f"{error}: {why}. See {folder}/log.txt, and go on with --resume {folder}") from error
