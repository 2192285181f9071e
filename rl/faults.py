"""Faults of a run: those that end it, those that it goes on from, and `events.jsonl`, where each is written down."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.sampler import EngineLost

EVENTS = "events.jsonl"


class RunStopped(RuntimeError):
    """A fault that a run cannot go on with; the text names its cause and the remedy."""


class PartLost(Exception):
    """A part without which the run cannot go on is gone: all start again, from the newest checkpoint."""

    event = "restart"


class LearnerLost(PartLost):
    """A rank of the learner is gone or does not answer; its weights are those of the newest checkpoint now."""

    event = "learner_restart"


class ScorerLost(PartLost):
    """The process of the reward scorer is gone."""

    event = "scorer_restart"


@contextmanager
def ending(folder: Path) -> Iterator[None]:
    """What ends a run from outside of it becomes one message that says how to go on. Raises RunStopped."""
    try:
        yield
    except ChildProcessError:  # a stage of a pipeline, which has a remedy of its own
        raise
    except (EngineLost, PartLost, OSError) as error:
        raise RunStopped(f"{error}\nWhen that is mended, go on with --resume {folder}") from error


class EventFile(logging.Handler):
    """Log records that have an `event` (its kind) as rows of `events.jsonl`: `time`, `step`, `kind`, `detail`.

    `step` is the last one whose row is written. A resume drops none: what happened has happened. `show` tells people.
    """

    def __init__(self, folder: Path, show: Callable[[str], None] = lambda text: None) -> None:
        super().__init__()
        self.path, self.show = folder / EVENTS, show
        self.step = 0

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, "event", None)
        if kind is None:
            return
        self.show(record.getMessage())
        row = {"time": round(time.time(), 3), "step": self.step, "kind": kind, "detail": record.getMessage()}
        try:
            with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError:  # a full disk must not make one fault two
            self.handleError(record)
