"""Whether a value meets a JSON Schema, by jsonschema: without its network, and with RE2 in place of Python's `re`."""

import functools
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from rewards.verifiers.json_text import canonical

LATEST = "https://json-schema.org/draft/2020-12/schema"
DRAFTS = {
    LATEST: "Draft202012Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
}
MAX_ERROR_CHARS = 200

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}
_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_SHAPES = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII),
    "time": re.compile(_TIME, re.ASCII),
    "date-time": re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt]{_TIME}", re.ASCII),
    "email": re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "uri": re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[!-;=?-~]+"),
}
FORMATS = (*_SHAPES, "ipv4", "ipv6")


class UnusableSchema(ValueError):
    """A schema by which nothing can be judged."""


def read_schema(schema: Any, *, assert_formats: bool = False) -> Any:
    """A jsonschema validator of the schema's draft, 2020-12 where it names none. Raises UnusableSchema.

    All that a value may ever need is looked up now: references that lead out of the schema, patterns that RE2 does
    not know and, where they are asserted, unknown formats are refused whatever the value will be.
    """
    if not isinstance(schema, dict) or not schema:
        raise UnusableSchema("the schema is no object with a keyword in it")
    try:
        return _read_schema(json.dumps(schema), assert_formats)
    except RecursionError as error:
        raise UnusableSchema("the schema is nested too deep") from error


@functools.lru_cache(maxsize=256)
def _read_schema(text: str, assert_formats: bool) -> Any:
    import jsonschema
    from jsonschema.validators import extend
    from referencing import Registry

    schema = json.loads(text)
    # A subschema that names a draft would be judged by that draft's own validator, without our keywords.
    draft = str(schema.pop("$schema", LATEST)).removesuffix("#")
    if draft not in DRAFTS:
        raise UnusableSchema(f"the schema's draft {draft:.100} is none of {', '.join(DRAFTS)}")
    standard = getattr(jsonschema, DRAFTS[draft])
    try:
        standard.check_schema(schema, format_checker=None)
        _survey(schema, draft, standard, assert_formats)
    except jsonschema.SchemaError as error:
        raise UnusableSchema(f"no JSON Schema: {error.message:.{MAX_ERROR_CHARS}}") from error
    checker = _format_checker() if assert_formats else None
    return extend(standard, _KEYWORDS)(schema, registry=Registry(), format_checker=checker)


def first_error(validator: Any, value: Any) -> str | None:
    """Where a value fails and the keyword that it fails, or None. Raises UnusableSchema for a schema without end."""
    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError as recursion:
        raise UnusableSchema("the schema refers to itself without end") from recursion
    if error is None:
        return None
    keyword = error.validator or "a schema that allows nothing"
    return f"{error.json_path:.{MAX_ERROR_CHARS}} fails {keyword}"


@functools.lru_cache(maxsize=1_024)
def compile_pattern(pattern: str) -> Any:
    """A pattern for RE2, with ECMA's `\\uXXXX`. Raises UnusableSchema for what RE2 lacks, as look-around."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_ESCAPE.sub(_spelled_for_re2, pattern), options)
    except re2.error as error:
        raise UnusableSchema(f"RE2 refuses the pattern {pattern:.100}: {error}") from error


def _spelled_for_re2(escape: re.Match[str]) -> str:
    return rf"\x{{{escape[1]}}}" if escape[1] else escape.group()


def _survey(schema: dict[str, Any], draft: str, standard: Any, assert_formats: bool) -> None:
    """Look at every subschema that can be reached, by place or by reference. Raises UnusableSchema, SchemaError."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import CannotDetermineSpecification, Unresolvable
    from referencing.jsonschema import UnknownDialect, specification_with

    specification = specification_with(draft)
    root = specification.create_resource(schema)
    pending: list[Any] = [(root, REGISTRY.resolver_with_root(root))]
    referred: list[Any] = []
    seen: set[int] = set()
    keywords: set[str] = set()
    try:
        while pending or referred:
            is_referred = not pending
            resource, resolver = referred.pop() if is_referred else pending.pop()
            contents = resource.contents
            if isinstance(contents, bool) or id(contents) in seen:
                continue
            if is_referred:  # from a place where the check of the whole did not look
                standard.check_schema(contents, format_checker=None)
            seen.add(id(contents))
            keywords |= contents.keys()
            _check_keywords(contents, assert_formats)
            for reference in contents.keys() & _REFERENCES:
                found = resolver.lookup(contents[reference])
                referred.append((specification.create_resource(found.contents), found.resolver))
            pending += [(inner, resolver.in_subresource(inner)) for inner in resource.subresources()]
    except (Unresolvable, UnknownDialect, CannotDetermineSpecification) as error:
        raise UnusableSchema(f"the schema refers to what it does not hold: {error!s:.{MAX_ERROR_CHARS}}") from error
    # jsonschema decides which properties are evaluated with Python's `re`, in a place that we cannot reach.
    if {"patternProperties", "unevaluatedProperties"} <= keywords:
        raise UnusableSchema("patternProperties beside unevaluatedProperties are not supported")


def _check_keywords(schema: dict[str, Any], assert_formats: bool) -> None:
    if "$schema" in schema:
        raise UnusableSchema("a subschema names a draft of its own")
    for pattern in [*schema.get("patternProperties", {}), *([schema["pattern"]] if "pattern" in schema else [])]:
        compile_pattern(pattern)
    if assert_formats and schema.get("format", "date") not in FORMATS:
        raise UnusableSchema(f"the format {schema['format']!r:.100} is none of {', '.join(FORMATS)}")


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "string") and not compile_pattern(pattern).search(value):
        yield _error("no match")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for key in filter(compile_pattern(pattern).search, value):
                yield from validator.descend(value[key], inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, value: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    patterns = [compile_pattern(pattern) for pattern in schema.get("patternProperties", {})]
    for key in value.keys() - schema.get("properties", {}).keys():
        if not any(pattern.search(key) for pattern in patterns):
            yield from validator.descend(value[key], inner, path=key)


def _unique_items(validator: Any, unique: bool, value: Any, schema: Any) -> Iterator[Any]:
    """In linear time; jsonschema's compares each with each where the items cannot be sorted."""
    if unique and validator.is_type(value, "array") and len(set(map(canonical, value))) < len(value):
        yield _error("repeated items")


def _multiple_of(validator: Any, divisor: Any, value: Any, schema: Any) -> Iterator[Any]:
    """Exact in the decimals as written; jsonschema's fails for 0.3 of 0.1, and overflows for large integers."""
    if validator.is_type(value, "number") and Fraction(repr(value)) % Fraction(repr(divisor)):
        yield _error("no multiple")


_KEYWORDS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
}


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


@functools.cache
def _format_checker() -> Any:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name in FORMATS:
        checker.checks(name, raises=ValueError)(functools.partial(_meets_format, name=name))
    return checker


def _meets_format(value: Any, *, name: str) -> bool:
    """Whether a text is of a format; what is no text is of any. Raises ValueError where it is not."""
    if not isinstance(value, str):
        return True
    if name == "ipv4":
        return bool(IPv4Address(value))
    if name == "ipv6":
        return bool(IPv6Address(value)) and "%" not in value
    if not _SHAPES[name].fullmatch(value):
        return False
    if name == "date":
        date.fromisoformat(value)
    if name == "date-time":
        datetime.fromisoformat(value[:10])
    return True
