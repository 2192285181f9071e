"""The service's log: one JSON object a line on standard error, without a word of what was judged."""

import json
import logging
import sys
import traceback
from typing import Any

from rewards.types import RewardRequest, RewardResult

MAX_ID_CHARS = 200
LOG = logging.getLogger("rewards.service")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; of an exception its type and its places, since its message may quote a text."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__name__
            fields["places"] = [
                f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(fields, default=str)


def open_log() -> None:
    """Send the logs of the service and of its server to standard error, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("rewards.service", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def log_result(request: RewardRequest, result: RewardResult, seconds: float) -> None:
    fields = {
        "id": None if request.id is None else request.id[:MAX_ID_CHARS],
        "task": request.task,
        "status": result.status,
        "ms": round(seconds * 1e3, 3),
    }
    LOG.info("result", extra={"fields": fields})


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    LOG.log(level, event, extra={"fields": fields})
