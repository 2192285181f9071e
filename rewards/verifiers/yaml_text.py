"""YAML as a value of JSON: the core schema of YAML 1.2 over the events of PyYAML, which construct nothing."""

import re
from dataclasses import dataclass
from typing import Any

from rewards.verifiers.json_text import MAX_DEPTH, Malformed, finite_float, unique_keys

MAX_NODES = 65_536  # with every alias counted as what it stands for
MAX_DIGITS = 1_000

_CORE = "tag:yaml.org,2002:"
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|(false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+|0o(?P<octal>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class _Node:
    """A value, the number of nodes in it and their depth, aliases expanded; `key` is a scalar as a key of JSON."""

    value: Any
    size: int = 1
    depth: int = 0
    key: str | None = None


def parse_yaml(text: str) -> Any:
    """The value of the only document. Raises Malformed.

    `yes`, `no`, dates and `<<` are texts, as in YAML 1.2; keys are scalars and stand for their text. Refused are
    tags beyond JSON's types, infinities, repeated keys, aliases that contain themselves or blow up.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=loader):
            composer.take(event)
    except yaml.YAMLError as error:
        raise Malformed(f"not YAML: {' '.join(str(error).split()):.200}") from error
    if composer.document is None:
        raise Malformed("an empty document")
    return composer.document.value


class _Composer:
    """Nodes from events, without recursion: the open collections are a stack."""

    def __init__(self) -> None:
        self.document: _Node | None = None
        self._open: list[tuple[Any, list[_Node]]] = []
        self._anchors: dict[str, _Node] = {}
        self._size = 0

    def take(self, event: Any) -> None:
        from yaml import events

        if isinstance(event, events.DocumentStartEvent) and self.document is not None:
            raise Malformed("more than one document")
        if isinstance(event, events.CollectionStartEvent):
            kind = "map" if isinstance(event, events.MappingStartEvent) else "seq"
            if event.tag not in (None, "!", _CORE + kind):
                raise Malformed(f"the tag {event.tag:.100}")
            if len(self._open) >= MAX_DEPTH:
                raise Malformed(f"nested deeper than {MAX_DEPTH}")
            self._size += 1
            self._open.append((event, []))
        elif isinstance(event, events.CollectionEndEvent):
            start, items = self._open.pop()
            is_mapping = isinstance(start, events.MappingStartEvent)
            value = _mapping(items) if is_mapping else [item.value for item in items]
            depth = 1 + max((item.depth for item in items), default=0)
            self._add(_Node(value, 1 + sum(item.size for item in items), depth), start.anchor)
        elif isinstance(event, events.ScalarEvent):
            self._size += 1
            self._add(_Node(_scalar(event), key=event.value), event.anchor)
        elif isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:  # not yet, where it would contain itself
                raise Malformed("an alias of what has not ended before it")
            node = self._anchors[event.anchor]
            self._size += node.size
            self._add(node, None)

    def _add(self, node: _Node, anchor: str | None) -> None:
        if self._size > MAX_NODES:
            raise Malformed(f"more than {MAX_NODES} nodes with aliases expanded")
        if len(self._open) + node.depth > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1][1].append(node)
        else:
            self.document = node


def _mapping(items: list[_Node]) -> dict[str, Any]:
    pairs = []
    for key, value in zip(items[::2], items[1::2], strict=True):
        if key.key is None:
            raise Malformed("a key that is no scalar")
        pairs.append((key.key, value.value))
    return unique_keys(pairs)


def _scalar(event: Any) -> Any:
    tag, text = event.tag, event.value
    if tag is None:
        return _plain(text) if event.implicit[0] else text
    if tag in ("!", _CORE + "str"):
        return text
    value = _plain(text)
    kinds = {"null": type(None), "bool": bool, "int": int, "float": float}
    kind = kinds.get(tag.removeprefix(_CORE)) if tag.startswith(_CORE) else None
    if kind is float and type(value) is int:
        return finite_float(str(value))
    if kind is None or type(value) is not kind:
        raise Malformed(f"the tag {tag:.100} of {text!r:.20}")
    return value


def _plain(text: str) -> Any:
    """A plain scalar by the core schema."""
    if _NULL.fullmatch(text):
        return None
    boolean = _BOOL.fullmatch(text)
    if boolean:
        return not boolean[1]
    integer = _INT.fullmatch(text)
    if integer:
        if len(text) > MAX_DIGITS:
            raise Malformed(f"an integer of more than {MAX_DIGITS} digits")
        return int(integer["octal"] or integer["hex"] or text, 8 if integer["octal"] else 16 if integer["hex"] else 10)
    if _FLOAT.fullmatch(text):
        return finite_float(text)
    if _NOT_FINITE.fullmatch(text):
        raise Malformed(f"{text} is no number of JSON")
    return text
