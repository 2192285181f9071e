"""Documents in JSON, YAML, XML, TOML or CSV as values of JSON, and the Markdown fence around them. Linear in length.

Every parser here is a safe one: nothing is constructed but JSON's values, nothing is expanded beyond a bound, nothing
is read from elsewhere. What a format says beyond JSON is mapped as stated at its parser, or refused.
"""

import csv
import datetime
import io
import re
import tomllib
from typing import Any

from rewards.verifiers.json_text import (
    MAX_DEPTH,
    Malformed,
    check_text,
    check_value,
    finite_float,
    parse_json,
    unique_keys,
)
from rewards.verifiers.xml_text import parse_xml
from rewards.verifiers.yaml_text import parse_yaml

FENCE = "optional", "required", "forbidden"

_TAGS = {"json": {"json"}, "yaml": {"yaml", "yml"}, "xml": {"xml"}, "toml": {"toml"}, "csv": {"csv"}}
_TOML_QUIET = re.compile(r'"{3}(?:[^"\\]|\\.|"{1,2}(?!"))*+(?:"{3,5})?|\'{3}(?:[^\']|\'{1,2}(?!\'))*+(?:\'{3,5})?'
                         r'|"(?:[^"\\\n]|\\.)*+"?|\'[^\'\n]*+\'?|#[^\n]*', re.DOTALL)  # fmt: skip
_TOML_SEGMENT = re.compile(r"[,={}\[\]\n]")
_SCALARS = {"": None, "true": True, "false": False}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def unfenced(text: str, language: str, policy: str = "optional") -> str:
    """The document in an answer: all of it, or what one Markdown fence around all of it holds.

    Raises Malformed where the fence is against the policy, of another language, or not around everything.
    """
    text = text.strip()
    lines = text.split("\n")
    marker = re.match(r"`{3,}|~{3,}|", lines[0]).group()  # type: ignore[union-attr]  # matches the empty text, too
    if not marker:
        if policy == "required":
            raise Malformed("no Markdown fence around the answer")
        return text
    if policy == "forbidden":
        raise Malformed("a Markdown fence around the answer")
    if len(lines) < 2 or lines[-1].strip() != marker or any(line.lstrip().startswith(marker) for line in lines[1:-1]):
        raise Malformed("not one Markdown fence around the whole answer")
    tag = lines[0].removeprefix(marker).strip().lower()
    if tag and tag not in _TAGS[language]:
        raise Malformed(f"a Markdown fence of {tag:.20}, not {language}")
    return "\n".join(lines[1:-1])


def parse_document(text: str, language: str, *, delimiter: str = ",", infer_types: bool = False) -> Any:
    """The value of a document. Raises Malformed. `delimiter` is CSV's; `infer_types` is for CSV and XML."""
    if language == "json":
        return parse_json(text)
    check_text(text)
    if language == "toml":
        value = parse_toml(text)
    elif language == "csv":
        value = parse_csv(text, delimiter)
    else:
        value = {"yaml": parse_yaml, "xml": parse_xml}[language](text)
    if infer_types and language in ("csv", "xml"):
        value = _inferred(value)
    check_value(value)
    return value


def parse_toml(text: str) -> Any:
    """TOML 1.0, dates and times as texts of ISO 8601; dotted keys of more than MAX_DEPTH parts are refused.

    tomllib's time is quadratic in the parts of a key, and its depth is Python's stack.
    """
    for segment in _TOML_SEGMENT.split(_TOML_QUIET.sub("s", text)):
        if segment.count(".") > MAX_DEPTH:
            raise Malformed(f"a dotted key of more than {MAX_DEPTH} parts")
    try:
        return _without_dates(tomllib.loads(text, parse_float=finite_float))
    except RecursionError as error:
        raise Malformed(f"nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise Malformed(f"not TOML: {error!s:.200}") from error


def parse_csv(text: str, delimiter: str) -> list[dict[str, str]]:
    """RFC 4180 with a header: an object a row, all values texts. Each row has a value for each name, once."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise Malformed(f"not CSV: {error}") from error
    while rows and not rows[-1]:
        rows.pop()
    header = rows[0]
    if not all(header):
        raise Malformed("a column without a name")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise Malformed(f"row {number} has {len(row)} fields, the header {len(header)}")
    return [unique_keys(list(zip(header, row, strict=True))) for row in rows[1:]] or _no_rows(header)


def _no_rows(header: list[str]) -> list[dict[str, str]]:
    unique_keys([(name, "") for name in header])
    return []


def _without_dates(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _inferred(value: Any) -> Any:
    """Texts that are literals of JSON's numbers, `true`, `false` or empty (null) as those values."""
    if isinstance(value, dict):
        return {key: _inferred(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_inferred(item) for item in value]
    if value in _SCALARS:
        return _SCALARS[value]
    number = _NUMBER.fullmatch(value)
    if number is None or len(value) > 1_000:
        return value
    return finite_float(value) if number[1] or number[2] else int(value)
