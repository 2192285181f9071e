"""Programs and what they answer: the program in a text, outputs compared as text, results compared as JSON."""

import json
import math
import re
from typing import Any

from rewards.response import BoundExceeded

MAX_SOURCE_CHARS = 65_536
WHITESPACE = "lines", "tokens", "exact"

_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<info>.*)")
_PYTHON = {"python", "python3", "py"}
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_MAX_DECIMAL_CHARS = 400


def last_program(answer: str) -> str | None:
    """The last fenced block marked as Python, or else the last one without a mark; None where there is none.

    A last block that is never closed was cut off: it is no program, and no earlier one is fallen back to. Raises
    BoundExceeded for a program of more than MAX_SOURCE_CHARS.
    """
    programs: dict[bool, str] = {}
    fence, info, lines = "", "", [""]
    for line in answer.split("\n"):
        found = _FENCE.fullmatch(line.rstrip())
        if not fence:
            if found and not (found["mark"][0] == "`" and "`" in found["info"]):
                fence, info, lines = found["mark"], found["info"], []
        elif found and found["mark"].startswith(fence) and not found["info"]:
            language = info.strip().lower().split(maxsplit=1)[:1]
            if not language or language[0] in _PYTHON:
                programs[bool(language)] = "\n".join(lines)
            fence = ""
        else:
            lines.append(line)
    program = programs.get(True, programs.get(False))
    if fence or program is None or not program.strip():
        return None
    if len(program) > MAX_SOURCE_CHARS:
        raise BoundExceeded(f"a program of more than {MAX_SOURCE_CHARS} characters")
    return program


def same_output(output: str, wanted: str, *, whitespace: str = "lines", tolerance: float = 0) -> bool:
    """Whether two outputs agree.

    `lines` ignores white space at the ends of lines and blank lines at the end, `tokens` all white space but that it
    separates, `exact` nothing. With a tolerance, decimal numbers may differ by it, absolutely or in proportion.
    """
    if output == wanted or whitespace == "exact":
        return output == wanted
    lines, wanted_lines = _tokens(output, whitespace), _tokens(wanted, whitespace)
    if lines == wanted_lines or not tolerance:
        return lines == wanted_lines
    if whitespace == "lines":
        lines, wanted_lines = [line.split() for line in lines], [line.split() for line in wanted_lines]
    else:
        lines, wanted_lines = [lines], [wanted_lines]
    return len(lines) == len(wanted_lines) and all(
        len(tokens) == len(wanted_tokens)
        and all(_same_token(*pair, tolerance) for pair in zip(tokens, wanted_tokens, strict=True))
        for tokens, wanted_tokens in zip(lines, wanted_lines, strict=True)
    )


def _tokens(output: str, whitespace: str) -> list[Any]:
    return output.split() if whitespace == "tokens" else [line.rstrip() for line in output.rstrip().split("\n")]


def _same_token(token: str, wanted: str, tolerance: float) -> bool:
    if token == wanted:
        return True
    if max(len(token), len(wanted)) > _MAX_DECIMAL_CHARS or not all(map(_DECIMAL.fullmatch, (token, wanted))):
        return False
    return _close(float(token), float(wanted), tolerance)


def _close(value: float, wanted: float, tolerance: float) -> bool:
    """Within the tolerance, absolutely or in proportion; an infinity, as of `1e999`, is close to nothing."""
    return math.isfinite(value) and math.isclose(value, wanted, rel_tol=tolerance, abs_tol=tolerance)


def read_json(text: str) -> Any:
    """JSON as it is specified, without NaN and infinities. Raises ValueError, RecursionError where nested too deep."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def same_value(value: Any, wanted: Any, *, tolerance: float, exact_types: bool = True) -> bool:
    """Whether two JSON values agree: with `exact_types` 1 is not 1.0, and true is never 1. Floats are compared with
    the tolerance wherever the wanted one is a float."""
    pairs = [(value, wanted)]
    while pairs:
        value, wanted = pairs.pop()
        if isinstance(wanted, float) or (isinstance(value, float) and _is_number(wanted)):
            if not _is_number(value) or (exact_types and type(value) is not type(wanted)):
                return False
            if not _same_number(value, wanted, tolerance):
                return False
        elif type(value) is not type(wanted):
            return False
        elif isinstance(wanted, list):
            if len(value) != len(wanted):
                return False
            pairs.extend(zip(value, wanted, strict=True))
        elif isinstance(wanted, dict):
            if value.keys() != wanted.keys():
                return False
            pairs.extend((value[key], wanted[key]) for key in wanted)
        elif value != wanted:
            return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_number(value: int | float, wanted: int | float, tolerance: float) -> bool:
    """A number against a float, or a float against a number; an integer beyond the floats is close to none."""
    try:
        return _close(float(value), float(wanted), tolerance)
    except OverflowError:
        return False
