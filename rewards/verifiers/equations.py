"""Whether an answer states the relation, the function or the expression of a reference."""

import re
from dataclasses import dataclass

from rewards.response import clean
from rewards.verifiers.math import UnreadableReference, Verdict, exceeded_bound
from rewards.verifiers.numbers import plain
from rewards.verifiers.relations import (
    CONSTANT,
    Expression,
    Head,
    is_identity,
    names,
    read_head,
    read_side,
    read_sides,
    renamed,
    same_expression_values,
    same_relation,
    same_up_to_constant,
)

MAX_CHARS = 1_000  # SymPy recurses once for each factor or term
CONSTANTS = "reference", "optional"
ORDINATE = "y"  # may name the value of a function of one variable

_UNFINISHED = re.compile(r"\\(?:int|iint|oint|sum|prod|lim)(?![a-z])|\\frac ?\{ ?d(?![a-z])")


@dataclass(frozen=True, slots=True)
class Gold:
    """A reference: the right side of a definition or an expression, or else the relation of two sides."""

    text: str
    head: Head | None
    body: Expression | None
    relation: tuple[Expression, str, Expression] | None

    @property
    def has_constant(self) -> bool:
        """Whether the body ends with a constant of integration: + C, and no other C."""
        if self.body is None or CONSTANT not in names(self.body):
            return False
        (symbol,) = (symbol for symbol in self.body.free_symbols if symbol.name == CONSTANT)
        return bool(self.body.diff(symbol) == 1)


def read_gold(reference: object) -> Gold:
    """A reference: `f(x) = x^2`, `y = 2x + 1`, `x^2 + y^2 = 1`, `x < 3y` or `x^2 + C`. Raises UnreadableReference."""
    if not isinstance(reference, str) or not clean(reference):
        raise UnreadableReference("the reference is an equation, an inequality or an expression in text")
    text = plain(clean(reference))
    if (bound := exceeded_bound(text)) is not None:
        raise UnreadableReference(f"the reference is beyond a bound: {bound}")
    sides = read_sides(text)
    if sides is None or len(sides[1]) > 1:
        raise UnreadableReference(f"the reference {text[:80]!r} is no equation of two sides and no expression")
    (*left, right), signs = sides
    body = read_side(right)
    head = read_head(left[0]) if left and signs == ["="] else None
    first = read_side(left[0]) if left and not (head and head.arguments) else None
    if body is None or (left and first is None and not (head and head.arguments)):
        raise UnreadableReference(f"cannot read the reference {text[:80]!r}")
    relation = (first, signs[0], body) if first is not None else None
    if relation is not None and is_identity(relation):
        raise UnreadableReference(f"the reference {text[:80]!r} holds everywhere, or nowhere")
    if relation is not None and (head is None or head.name in names(body)):
        return Gold(text, None, None, relation)
    return Gold(text, head, body, relation)


def verify_equation(answer: str, gold: Gold, *, constant: str = "reference", evaluated: bool = True) -> Verdict:
    """Judge an extracted answer.

    With `constant` optional, functions that differ by a constant are equal; by reference, a constant of integration is
    asked for exactly where the reference has one, under any name that it does not use otherwise.
    """
    if len(answer) > MAX_CHARS:
        return Verdict(False, f"more than {MAX_CHARS} characters")
    if (bound := exceeded_bound(answer)) is not None:
        return Verdict(False, bound)
    text = plain(clean(answer))
    if evaluated and _UNFINISHED.search(text) and not _UNFINISHED.search(gold.text):
        return Verdict(False, "the operation asked for is still in the answer")
    read = read_sides(text)
    if read is None:
        return Verdict(False, "a side is empty")
    sides, signs = read
    if gold.body is not None:
        verdict = _verify_body(sides, signs, gold, constant)
        if verdict.equal or gold.relation is None:
            return verdict
    return _verify_relation(sides, signs, gold)


def _verify_relation(sides: list[str], signs: list[str], gold: Gold) -> Verdict:
    """Each side after the first, related to the first, states the reference up to a constant factor."""
    assert gold.relation is not None, "a reference has a body or a relation"
    if not signs:
        return Verdict(False, "an expression, where the reference is a relation")
    if len(signs) > 1 and set(signs) != {"="}:
        return Verdict(False, "a chain of inequalities")
    first, *others = [read_side(side) for side in sides]
    if first is None or any(other is None for other in others):
        return Verdict(False, "a side that cannot be read")
    same = all(same_relation((first, signs[0], other), gold.relation) for other in others)
    return Verdict(same, "compared as relations, up to a constant factor")


def _verify_body(sides: list[str], signs: list[str], gold: Gold, constant: str) -> Verdict:
    """Each side, save the name in front, equals the reference's right side."""
    if any(sign != "=" for sign in signs):
        return Verdict(False, "an inequality, where the reference is none")
    head = read_head(sides[0]) if signs else None
    if head is not None and not _may_name(head, gold):
        return Verdict(False, f"{sides[0][:80]!r} is not what the reference defines")
    for side in sides[1:] if head is not None else sides:
        body = read_side(side)
        if body is not None and head and gold.head and head.arguments != gold.head.arguments and head.arguments:
            body = renamed(body, head.arguments, gold.head.arguments)
        if body is None:
            return Verdict(False, "a side that cannot be read")
        if not _same_body(body, gold, constant):
            return Verdict(False, "another expression than the reference's")
    return Verdict(True, "compared as expressions")


def _may_name(head: Head, gold: Gold) -> bool:
    """Whether a name in front of an answer names what the reference does; any will do where that has none."""
    assert gold.body is not None, "only bodies have names"
    if gold.head is None:
        return head.name not in names(gold.body)
    if head.name != gold.head.name:
        return head == Head(ORDINATE, ()) and len(gold.head.arguments) == 1 and ORDINATE not in names(gold.body)
    return not head.arguments or not gold.head.arguments or len(head.arguments) == len(gold.head.arguments)


def _same_body(body: Expression, gold: Gold, constant: str) -> bool:
    assert gold.body is not None, "only bodies are compared so"
    if not gold.has_constant and constant == "reference":
        return same_expression_values(body, gold.body)
    known = names(gold.body) - ({CONSTANT} if gold.has_constant else set())
    extra = names(body) - known
    if len(extra) > 1 or (not extra and constant == "reference"):
        return False
    base = gold.body
    if gold.has_constant:
        (symbol,) = (symbol for symbol in base.free_symbols if symbol.name == CONSTANT)
        base = base.subs(symbol, 0)
    return same_up_to_constant(body, base, next(iter(extra), None))
