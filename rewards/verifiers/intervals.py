"""Unions of intervals, read from interval notation, inequalities and excluded points; compared exactly."""

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction

from rewards.verifiers.math import read_references, verify_math
from rewards.verifiers.numbers import parse_rational, plain
from rewards.verifiers.shapes import split_items

MAX_PIECES = 32

_UNION = re.compile(r"\\(?:big)?cup(?![a-z])|\\lor(?![a-z])| or | U ")
_MEMBER = re.compile(r"\\?[A-Za-z]+ ?\\in(?![a-z]) ?")
_REALS = re.compile(r"\\mathbb ?\{?R\}?|\\R|R|\\Reals|all real numbers|all reals")
_NOTHING = re.compile(r"\\emptyset|\\varnothing|\\\{ ?\\\}")
_POINTS = re.compile(r"\\\{([^:|<>=]+)\\\}")
_WITHOUT = re.compile(r"(?:\\setminus|\\backslash|\\smallsetminus)(?![a-z])")
_UNEQUAL = re.compile(r"\\?[A-Za-z]+ ?(?:\\neq?(?![a-z])|≠|!=)(.+)")
_ORDER = re.compile(r"(\\(?:leqslant|leq|le|lt|geqslant|geq|ge|gt)(?![a-z])|<=|>=|<|>)")
_VARIABLE = re.compile(r"[A-Za-z]|\\(?!infty)[a-z]+")
_INFINITY = re.compile(r"([+-]?) ?\\infty")
_BELOW, _ABOVE = "-\\infty", "\\infty"


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends as text, and whether each belongs to the interval; a point is an interval with equal ends."""

    low: str
    low_closed: bool
    high: str
    high_closed: bool


Union = tuple[Interval, ...]
Cut = tuple[Fraction | float, int]  # just before a value (0), or just after it (1)
_LINE = Interval(_BELOW, False, _ABOVE, False)


def read_union(text: str) -> Union | None:
    r"""`[1,2)`, `(-\infty, 0) \cup \{1\}`, `x \le 3`, `1 < x < 2 or x > 5`, `\mathbb{R} \setminus \{0\}`; else None."""
    text = _without_member(plain(text))
    base, *excluded = _WITHOUT.split(text)
    if excluded:
        points = read_union(excluded[0]) if len(excluded) == 1 and _REALS.fullmatch(base.strip()) else None
        return _complement([piece.low for piece in points]) if points and all(map(_is_point, points)) else None
    pieces: list[Interval] = []
    for part in _UNION.split(text):
        read = _read_piece(_without_member(part.strip()))
        if read is None or len(pieces) + len(read) > MAX_PIECES:
            return None
        pieces.extend(read)
    return tuple(pieces) if all(map(_is_proper, pieces)) else None


def check_union(union: Union) -> None:
    """Raise UnreadableReference where an end is no mathematics."""
    for piece in union:
        read_references([end for end in (piece.low, piece.high) if end not in (_BELOW, _ABOVE)] or ["0"])


def same_union(answer: Union, gold: Union, *, evaluated: bool) -> bool:
    """Whether two unions are the same set. Touching pieces are joined where all ends are rational."""
    exact = _joined(answer), _joined(gold)
    if None not in exact:
        return exact[0] == exact[1]
    missing = list(gold)
    for piece in answer:
        partner = next((wanted for wanted in missing if _same_interval(piece, wanted, evaluated)), None)
        if partner is None:
            return False
        missing.remove(partner)
    return not missing


def _read_piece(text: str) -> list[Interval] | None:
    if _REALS.fullmatch(text):
        return [_LINE]
    if _NOTHING.fullmatch(text):
        return []
    if points := _POINTS.fullmatch(text):
        items = split_items(text)
        return [_point(part) for part in (items.parts if items else (points[1].strip(),))]
    if unequal := _UNEQUAL.fullmatch(text):
        return list(_complement([unequal[1].strip()]) or ())
    items = split_items(text)
    if items is not None and items.opening in ("(", "[") and items.closing in (")", "]") and len(items.parts) == 2:
        low, high = map(_end, items.parts)
        return [Interval(low, items.opening == "[", high, items.closing == "]")]
    return _read_inequality([side.strip() for side in _ORDER.split(text)])


def _read_inequality(sides: list[str]) -> list[Interval] | None:
    """`x < b`, `a < x`, `a < x < b` or `b > x > a` out of its sides and signs, taken by turns."""
    if len(sides) not in (3, 5) or not all(sides):
        return None
    if any(_is_greater(sign) for sign in sides[1::2]):
        if not all(_is_greater(sign) for sign in sides[1::2]):
            return None
        sides = sides[::-1]
    closed = [sign not in ("<", ">", "\\lt", "\\gt") for sign in sides[1::2]]
    if len(sides) == 5:
        if not _VARIABLE.fullmatch(sides[2]):
            return None
        return [Interval(_end(sides[0]), closed[0], _end(sides[4]), closed[1])]
    if _VARIABLE.fullmatch(sides[0]):
        return [Interval(_BELOW, False, _end(sides[2]), closed[0])]
    return [Interval(_end(sides[0]), closed[0], _ABOVE, False)] if _VARIABLE.fullmatch(sides[2]) else None


def _is_greater(sign: str) -> bool:
    return sign in (">", ">=") or sign.startswith("\\g")


def _complement(points: list[str]) -> Union | None:
    """The line without points: any one point, or several rational ones."""
    values = [parse_rational(point) for point in points]
    if len(points) > 1:
        if None in values:
            return None
        points = [point for _, point in sorted(zip(values, points, strict=True), key=lambda pair: pair[0] or 0)]
    ends = [_BELOW, *points, _ABOVE]
    return tuple(Interval(low, False, high, False) for low, high in itertools.pairwise(ends))


def _joined(union: Union) -> tuple[tuple[Cut, Cut], ...] | None:
    """The union as disjoint pieces in their order, each from a cut to a cut; None where an end is not rational."""
    spans: list[tuple[Cut, Cut]] = []
    for piece in union:
        low, high = _bound(piece.low), _bound(piece.high)
        if low is None or high is None:
            return None
        spans.append(((low, 0 if piece.low_closed else 1), (high, 1 if piece.high_closed else 0)))
    joined: list[tuple[Cut, Cut]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def _bound(end: str) -> Fraction | float | None:
    if end in (_BELOW, _ABOVE):
        return float("-inf" if end == _BELOW else "inf")
    return parse_rational(end)


def _same_interval(one: Interval, other: Interval, evaluated: bool) -> bool:
    closed = (one.low_closed, one.high_closed) == (other.low_closed, other.high_closed)
    return closed and all(
        answer == gold if {answer, gold} & {_BELOW, _ABOVE} else verify_math(answer, gold, evaluated=evaluated).equal
        for answer, gold in ((one.low, other.low), (one.high, other.high))
    )


def _is_proper(piece: Interval) -> bool:
    """Whether an interval has members: finite closed ends, and the lower one below, as far as they are rational."""
    if piece.low == _ABOVE or piece.high == _BELOW:
        return False
    if (piece.low == _BELOW and piece.low_closed) or (piece.high == _ABOVE and piece.high_closed):
        return False
    low, high = _bound(piece.low), _bound(piece.high)
    if low is None or high is None:
        return True
    return low < high or (low == high and piece.low_closed and piece.high_closed)


def _is_point(piece: Interval) -> bool:
    return piece.low == piece.high and piece.low_closed and piece.high_closed


def _point(text: str) -> Interval:
    return Interval(text, True, text, True)


def _end(text: str) -> str:
    infinity = _INFINITY.fullmatch(text.strip())
    if infinity is None:
        return text.strip()
    return _BELOW if infinity[1] == "-" else _ABOVE


def _without_member(text: str) -> str:
    return _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
