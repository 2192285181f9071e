"""Sets, multisets, tuples, unions of intervals and matrices: typed answers against typed references."""

import re
from typing import Any

from rewards.response import clean
from rewards.verifiers.expressions import approximate
from rewards.verifiers.intervals import Union, check_union, read_union, same_union
from rewards.verifiers.math import UnreadableReference, Verdict, exceeded_bound, read_references, verify_math
from rewards.verifiers.matrices import Matrix, check_matrix, read_matrix, same_matrix
from rewards.verifiers.numbers import plain
from rewards.verifiers.shapes import Items, split_items, without_names

KINDS = "set", "multiset", "tuple", "interval", "matrix"
AUTO = "auto"
ROUGHLY = 1e-4  # in proportion: beyond it two numbers are not equal, however they are rounded

_SEVERAL_NAMES = re.compile(
    r"^(?:\\?[A-Za-z]\w*|\([A-Za-z](?:_?\d)?(?: ?, ?[A-Za-z](?:_?\d)?)+\)) ?(?:=(?!=)|\\in(?![a-z]))"
)
_EMPTY = re.compile(r"\\emptyset|\\varnothing|\\\{ ?\\\}")
_BRACED = re.compile(r"\\\{(.+)\\\}")
_ANGLES = (("\\langle", "("), ("\\rangle", ")"))
_OF_INTERVALS = re.compile(r"\\cup|\\infty|<|>|\\[lg]eq?(?![a-z])|\\mathbb|\\setminus|\\neq?(?![a-z])")

Container = Items | Union | Matrix


def read_container(text: str, kind: str) -> Container | None:
    """What a text says, as one of KINDS; None where it says nothing of that kind."""
    text = clean(text)
    if kind == "matrix":
        return read_matrix(text)
    if kind == "interval":
        return read_union(text)
    text = plain(text)
    return _read_tuple(text) if kind == "tuple" else _read_set(text)


def kind_of(text: str) -> str:
    r"""The kind that a reference is of where none is stated. `(a, b)` is a tuple, `[a, b]` an interval."""
    text = plain(clean(text))
    items = split_items(text)
    if "\\begin" in text or text.startswith("[["):
        return "matrix"
    if _OF_INTERVALS.search(text) or (items and items.opening and _is_half_open(items)):
        return "interval"
    if items and items.opening:
        return "interval" if items.opening == "[" and len(items.parts) == 2 else "tuple"
    return "set"


def _is_half_open(items: Items) -> bool:
    return (items.opening, items.closing) not in (("(", ")"), ("[", "]"))


def read_gold(reference: Any, kind: str) -> tuple[str, Container]:
    """A reference's kind and container; nested lists of numbers are a matrix. Raises UnreadableReference."""
    text = _written(reference)
    if (bound := exceeded_bound(text)) is not None:
        raise UnreadableReference(f"the reference is beyond a bound: {bound}")
    kind = kind_of(text) if kind == AUTO else kind
    container = read_container(text, kind)
    if container is None:
        raise UnreadableReference(f"cannot read the reference {text[:80]!r} as a {kind}; params.kind may name another")
    if isinstance(container, Items):
        read_references([*container.parts] or ["0"])
    elif kind == "interval":
        check_union(container)  # type: ignore[arg-type]
    else:
        check_matrix(container)  # type: ignore[arg-type]
    return kind, container


def verify_container(answer: str, kind: str, gold: Container, *, evaluated: bool = True) -> Verdict:
    """Judge an extracted answer as a container of a kind. Raises UnreadableReference."""
    if (bound := exceeded_bound(answer)) is not None:
        return Verdict(False, bound)
    container = read_container(answer, kind)
    if container is None:
        return Verdict(False, f"no {kind}")
    if isinstance(container, Items) and isinstance(gold, Items):
        same = _same_items(container, gold, kind, evaluated)
    elif kind == "interval":
        same = same_union(container, gold, evaluated=evaluated)  # type: ignore[arg-type]
    else:
        same = same_matrix(container, gold, evaluated=evaluated)  # type: ignore[arg-type]
    return Verdict(same, f"compared as a {kind}")


def _written(reference: Any) -> str:
    """A reference as text: a list of lists of numbers or texts in brackets."""
    if isinstance(reference, list) and reference and all(isinstance(row, list) for row in reference):
        rows = [[str(cell) for cell in row if isinstance(cell, str | int | float)] for row in reference]
        return "[" + ", ".join("[" + ", ".join(row) + "]" for row in rows) + "]"
    if not isinstance(reference, str | int | float) or isinstance(reference, bool):
        raise UnreadableReference(f"a reference is a text or a list of rows, not {type(reference).__name__}")
    return str(reference)


def _read_tuple(text: str) -> Items | None:
    for angle, bracket in _ANGLES:
        text = text.replace(angle, bracket)
    items = split_items(_SEVERAL_NAMES.sub("", text, count=1).strip())
    return items if items and items.opening and not _is_half_open(items) else None


def _read_set(text: str) -> Items | None:
    """Items of `\\{1, 2\\}`, `1, 2`, `x = 1 or x = 2`, `\\pm 1`, or a single one."""
    named = without_names(text)
    text = _SEVERAL_NAMES.sub("", text, count=1).strip() if named == text else named
    if _EMPTY.fullmatch(text):
        return Items("", "", ())
    items = split_items(text)
    if items is not None and items.opening:
        return Items("", "", (text,)) if not _is_half_open(items) else None
    braced = _BRACED.fullmatch(text)
    single = braced[1].strip() if braced else text
    parts = items.parts if items is not None else (single,)
    signed = tuple(part for given in parts for part in _both_signs(given))
    return Items("", "", signed) if all(signed) else None


def _both_signs(text: str) -> tuple[str, ...]:
    before, sign, after = text.partition("\\pm")
    if not sign:
        return (text,)
    before, after = before.strip(), after.strip()
    return (f"{before}+{after}" if before else after, f"{before}-{after}")


def _same_items(answer: Items, gold: Items, kind: str, evaluated: bool) -> bool:
    """In order for a tuple, in its brackets; one to one for a multiset; each with a partner for a set."""
    if kind == "tuple":
        alike = (answer.opening, len(answer.parts)) == (gold.opening, len(gold.parts))
        return alike and all(
            verify_math(part, wanted, evaluated=evaluated).equal
            for part, wanted in zip(answer.parts, gold.parts, strict=True)
        )
    if kind == "multiset":
        return _pair_up(list(answer.parts), list(gold.parts), evaluated)
    parts = list(dict.fromkeys(answer.parts))
    return all(any(_same_item(part, wanted, evaluated) for wanted in gold.parts) for part in parts) and all(
        any(_same_item(part, wanted, evaluated) for part in parts) for wanted in gold.parts
    )


def _same_item(part: str, wanted: str, evaluated: bool) -> bool:
    """Whether two items are equal; those that are plainly different numbers are told apart without Math-Verify."""
    if part != wanted and all(map(_is_bare, (part, wanted))):
        one, other = approximate(part), approximate(wanted)
        if one is not None and other is not None and abs(one - other) > ROUGHLY * max(abs(one), abs(other)):
            return False
    return verify_math(part, wanted, evaluated=evaluated).equal


def _is_bare(text: str) -> bool:
    """Whether a text is within the bounds and neither a chain nor a percentage, whose values differ from its number."""
    return "=" not in text and "%" not in text and exceeded_bound(text) is None


def _pair_up(parts: list[str], golds: list[str], evaluated: bool) -> bool:
    """Whether parts and references pair up one to one; equality is an equivalence, so any partner will do."""
    if len(parts) != len(golds):
        return False
    for part in parts:
        partner = next((wanted for wanted in golds if _same_item(part, wanted, evaluated)), None)
        if partner is None:
            return False
        golds.remove(partner)
    return True


def stated_container(reference: Any) -> str:
    """The response that commits to a reference, or to the first of a list of them that is no matrix."""
    several = isinstance(reference, list) and reference and not isinstance(reference[0], list)
    return f"\\boxed{{{_written(reference[0] if several else reference)}}}"
