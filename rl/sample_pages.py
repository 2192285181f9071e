"""A file of sampled groups, read by the page: it may be larger than memory, and every text in it is a model's."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rl.run_folder import parse_object

MAX_GROUPS = 20
MAX_ITEMS = 64  # of a list or mapping: responses of a group, messages, components
MAX_CHARACTERS = 6_000  # of a text
MAX_DEPTH = 6
MAX_LINE_BYTES = 64 * 2**20
MAX_SCAN_BYTES = 64 * 2**20  # a request reads no more, however little of it is wanted

Group = dict[str, Any]


def read_page(path: Path, start: int = 0, *, kind: str = "", find: str = "") -> dict[str, Any]:
    """Groups from byte `start` on: those of a `kind` (`KINDS`) that hold the text `find`, shortened to be shown.

    `next` is where to go on, None at the end; `num_unreadable` counts lines that hold no group or are too long.
    """
    wanted, text = KINDS[kind], find.strip().casefold()
    groups: list[Group] = []
    num_unreadable = 0
    for at, line in read_lines(path, start):
        if len(groups) == MAX_GROUPS or at - start >= MAX_SCAN_BYTES:
            return {"groups": groups, "next": at, "num_unreadable": num_unreadable}
        group = None if line is None else parse_group(line)
        if group is None:
            num_unreadable += 1
        elif wanted(group) and (not text or text in _texts(group)):
            groups.append({"at": at} | shorten(group))
    return {"groups": groups, "next": None, "num_unreadable": num_unreadable}


def read_text(path: Path, at: int, response: int | None) -> str:
    """All of a response of the group at byte `at`, or of the group as JSON. Raises LookupError."""
    line = next((line for start, line in read_lines(path, at) if start == at), None)
    group = None if line is None else parse_group(line)
    if group is None:
        raise LookupError(f"there is no group at {at}")
    if response is None:
        return json.dumps(group, indent=1, ensure_ascii=False)
    if response >= len(group["responses"]):
        raise LookupError(f"the group has {len(group['responses'])} responses")
    return as_text(group["responses"][response].get("text"))


def read_lines(path: Path, start: int) -> Iterator[tuple[int, bytes | None]]:
    """Complete lines with the bytes at which they begin; None for one beyond `MAX_LINE_BYTES`."""
    with open(path, "rb") as file:
        file.seek(start)
        at = start
        while line := file.readline(MAX_LINE_BYTES):
            is_long = not line.endswith(b"\n")
            while is_long and line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            if not line:  # a last line that is being written
                return
            yield at, None if is_long else line
            at = file.tell()


def parse_group(line: bytes) -> Group | None:
    """A group as `rl/sample_rows.py` writes it; None for anything else."""
    group = parse_object(line)
    if group is None or not isinstance(group.get("responses"), list) or not isinstance(group.get("messages"), list):
        return None
    return group if all(isinstance(item, dict) for item in (*group["responses"], *group["messages"])) else None


def shorten(value: Any, depth: int = 0) -> Any:
    """The value with long texts cut in their middle, and long or deep lists and mappings at their end."""
    if isinstance(value, str):
        return cut(value, MAX_CHARACTERS)
    if isinstance(value, dict | list) and depth == MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [shorten(item, depth + 1) for item in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        short = {cut(key, 200): shorten(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]}
        if isinstance(value.get("text"), str) and len(value["text"]) > MAX_CHARACTERS:
            short["characters"] = len(value["text"])
        if isinstance(value.get("responses"), list) and len(value["responses"]) > MAX_ITEMS:
            short["num_responses"] = len(value["responses"])
        return short
    return value


def cut(text: str, limit: int) -> str:
    """The text, or its two ends and between them how much is missing."""
    if len(text) <= limit:
        return text
    gap = f"\n[… {len(text) - limit} characters are left out here …]\n"
    return text[: limit // 2] + gap + text[-limit // 2 :]


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def scores_of(group: Group) -> list[float]:
    """The scores of those responses that have one; of an evaluation by the first of its parsers."""
    found = []
    for response in group["responses"]:
        scores = response.get("scores")
        score = next(iter(scores.values()), None) if isinstance(scores, dict) else response.get("score")
        if isinstance(score, int | float):
            found.append(float(score))
    return found


def _texts(group: Group) -> str:
    texts = [message.get("content") for message in group["messages"]]
    texts += [group.get("reference"), *(response.get("text") for response in group["responses"])]
    return "\n".join(map(as_text, texts)).casefold()


def _is_mixed(group: Group) -> bool:
    return len(set(scores_of(group))) > 1


def _is_high(group: Group) -> bool:
    return len(scores := set(scores_of(group))) == 1 and max(scores) > 0


KINDS: dict[str, Callable[[Group], bool]] = {
    "": lambda group: True,
    "mixed": _is_mixed,
    "high": _is_high,
    "low": lambda group: bool(scores := scores_of(group)) and max(scores) <= 0,
    "lost": lambda group: len(scores_of(group)) < len(group["responses"]),
    "cut": lambda group: any(response.get("finish_reason") == "length" for response in group["responses"]),
}
