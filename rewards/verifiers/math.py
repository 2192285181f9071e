"""Whether an answer equals a mathematical reference: exact numbers first, Math-Verify for what is left.

May run long on hostile input: call it in a worker that can be killed. Text is never evaluated.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from rewards.response import clean
from rewards.verifiers.expressions import read_reference, same_expression, same_rounded
from rewards.verifiers.magnitude import magnitude, of_other_size
from rewards.verifiers.numbers import MAX_DIGITS, Number, has_unit, parse_number, plain, same_number
from rewards.verifiers.shapes import Items, split_items, without_names

MAX_CHARS = 4_096
MAX_DEPTH = 32
MAX_ITEMS = 64
MAX_BARS = 12  # the grammar takes exponential time to pair more

_CHAIN = re.compile(r"(?<![<>!:\\])=|\\approx|≈|\\simeq|\\sim(?![a-z])")
_NAME = re.compile(
    r"\\?[A-Za-z]\w*(?:_\{\w+\})?'*(?:\([a-zA-Z, ]+\))?|\([a-z](?:, ?[a-z])+\)|[A-Za-z](?: ?[+-] ?[A-Za-z])+"
)
_OPERATION = re.compile(
    r"\\(?:int|sum|prod|lim|binom|tbinom|dbinom|div)(?![a-z])|!|(?<=[\w)}\]]) ?(?:\+|-|\*|÷|×) ?(?=[\w(\\{])"
    r"|\\(?:times|cdot)(?![a-z])(?! ?10 ?\^)|[\d)}] ?\( ?-?\d"
    r"|\\(?:exp|gcd|lcm|max|min|lfloor|lceil|pmod|bmod|Gamma)(?![a-z])|\\begin ?\{[vV]matrix|\| ?\\begin"
    # `\operatorname{cot}` has lost its backslash
    r"|(?<![A-Za-z])(?:log|ln|lg|mod|det|a?(?:rc?)?(?:sin|cos|tan|cot|sec|csc)h?)(?![a-z])"
)
_UNFINISHED = re.compile(r"\\(?:int|sum|prod|lim|binom|tbinom|dbinom)(?![a-z])|\d ?!")
_NUMBER_IN_POWER = r"(?:\d|\{ ?\d+ ?\}|\([-+*/.\d ]*\))"  # `e^{-x^2}` and `x^3 + x^2` are no towers
_MAGNITUDE = re.compile(
    rf"\^ ?\{{[^{{}}]*{_NUMBER_IN_POWER} ?\^|\^ ?\([^()]*\d ?\^|\^ ?\(?-?\d+\)? ?\^|\^ ?\^"
    r"|! ?!|\d{4,} ?\)? ?!|\^ ?\{? ?-?\d{4,}"
)
_SUBSCRIPTS = re.compile(r"_ ?\{?\w ?_")
_MISREAD = re.compile(r"(?<![_\d])\d+ \d|\d ?\$ ?\d|\d_\{?\d|\\[lcd]?dots|\.\.\.|\d ?: ?\d|--|\+\+|\+-")
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[ '-][A-Za-z]+)*")
_NO_VARIABLES = re.compile(
    r"\\(?!(?:[gG]amma|[dD]elta|[tT]heta|[lL]ambda|[xX]i|[pP]i|[sS]igma|[uU]psilon|[pP]hi|[pP]si|[oO]mega)(?![A-Za-z]))"
    r"[A-Za-z]+|(?<![A-Za-z\\])(?:log|ln|lg|exp|mod|a?(?:rc?)?(?:sin|cos|tan|cot|sec|csc)h?|or|and)(?![A-Za-z])"
)


class UnreadableReference(ValueError):
    """The reference is no mathematics that we can read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the answer is right, and why it is judged so."""

    equal: bool
    reason: str


def read_references(reference: Any) -> list[str]:
    """The texts that a reference accepts: that of a number or a text, or of any item of a list.

    Raises UnreadableReference where one of them cannot be read.
    """
    items = reference if isinstance(reference, list) else [reference]
    if not items:
        raise UnreadableReference("the reference is an empty list")
    return [_read_reference(item) for item in items]


def _read_reference(item: Any) -> str:
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        raise UnreadableReference(f"a reference is a text or a number, not {type(item).__name__}")
    if isinstance(item, int) and item.bit_length() > 4 * MAX_DIGITS:
        raise UnreadableReference(f"a number of more than {MAX_DIGITS} digits")
    if isinstance(item, float) and not math.isfinite(item):
        raise UnreadableReference(f"the reference is {item}")
    text = plain(clean(str(item)))
    if not text:
        raise UnreadableReference("the reference is empty")
    if (bound := exceeded_bound(text)) is not None:
        raise UnreadableReference(f"the reference is beyond a bound: {bound}")
    number = parse_number(text)
    if (number and not number.symbolic) or _WORDS.fullmatch(text):
        return text
    items = split_items(text)
    if items is not None:
        for part in items.parts:
            _read_reference(part)
    elif magnitude(text) is None and not read_reference(text):
        raise UnreadableReference(f"cannot read the reference {text[:80]!r}")
    return text


def verify_math(answer: str, reference: Any, *, evaluated: bool = True) -> Verdict:
    """Judge an extracted answer. Raises UnreadableReference.

    With `evaluated`, an answer to a numeric reference must not still hold the operation that was asked for. A list of
    references accepts what any of them accepts.
    """
    golds = read_references(reference)
    if (bound := exceeded_bound(answer)) is not None:
        return Verdict(False, bound)
    answer = plain(clean(answer))
    verdict = Verdict(False, "no answer")
    for gold in golds:
        verdict = _verify_chain(answer, gold, evaluated=evaluated)
        if verdict.equal:
            break
    return verdict


def exceeded_bound(text: str) -> str | None:
    """The bound that a text breaks, or None: checks in linear time before anything may run long."""
    if len(text) > MAX_CHARS:
        return f"more than {MAX_CHARS} characters"
    digits = max((len(run) for run in re.findall(r"\d+", text)), default=0)
    if digits > MAX_DIGITS:
        return f"a number of more than {MAX_DIGITS} digits"
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return f"brackets nested more than {MAX_DEPTH} deep"
    if text.count(",") > MAX_ITEMS:
        return f"more than {MAX_ITEMS} items"
    if text.count("|") > MAX_BARS or _SUBSCRIPTS.search(text):
        return f"more than {MAX_BARS} bars, or a tower of subscripts"
    if _MAGNITUDE.search(text.replace("**", "^")):
        return "a tower of powers, a large power or a large factorial"
    return None


def _verify_chain(answer: str, gold: str, *, evaluated: bool) -> Verdict:
    """Every side of `a = b = c` must equal the reference, save a name in front; the last one must be finished."""
    if _same_text(answer, gold):
        return Verdict(True, "the same text")
    golden = [side.strip() for side in _CHAIN.split(gold)]
    if _is_named_chain(golden):
        sides = [side.strip() for side in _CHAIN.split(answer)]
        named = len(sides) > 1 and _NAME.fullmatch(sides[0])
        if not named or _same_text(sides[0], golden[0]):
            right = _verify_chain(answer, golden[-1], evaluated=evaluated)
            if right.equal or len(sides) != 2 or len(golden) > 2:
                return right  # as a whole, Math-Verify would look at a chain's last side alone
            return _verify_side(answer, gold, evaluated=evaluated)
    if len(golden) > 1:
        return _verify_side(answer, gold, evaluated=evaluated)
    sides = [side.strip() for side in _CHAIN.split(without_names(answer))]
    if len(sides) > 1 and _NAME.fullmatch(sides[0]) and not _NAME.fullmatch(gold):
        sides = sides[1:]  # `x = 5` names what the value is of
    if not all(sides):
        return Verdict(False, "no answer" if len(sides) == 1 else "a side of the equation is empty")
    *steps, last = sides
    for side in steps:
        if not _verify_side(side, gold, evaluated=False).equal:
            return Verdict(False, f"{side[:80]!r} in the chain does not equal the reference")
    return _verify_side(last, gold, evaluated=evaluated)


def _verify_side(answer: str, gold: str, *, evaluated: bool) -> Verdict:
    if _same_text(answer, gold):
        return Verdict(True, "the same text")
    gold_number, number = _numbers(gold, answer)
    if gold_number and number:
        return Verdict(same_number(number, gold_number), "compared as exact numbers")
    if _WORDS.fullmatch(gold) or _WORDS.fullmatch(answer):
        return Verdict(answer.casefold() == gold.casefold(), "compared as words")
    answer_items, gold_items = split_items(answer), split_items(gold)
    if gold_items is not None and answer_items is not None:
        return _verify_items(answer_items, gold_items, evaluated=evaluated)
    if not _balanced(answer):
        return Verdict(False, "brackets that do not match")
    if evaluated and gold_number and _OPERATION.search(answer):
        return Verdict(False, "the operation asked for is still in the answer")
    if evaluated and _UNFINISHED.search(answer) and not _UNFINISHED.search(gold):
        return Verdict(False, "the operation asked for is still in the answer")
    if has_unit(answer) and not has_unit(gold) and parse_number(gold):
        return Verdict(False, "a unit that the reference does not have")
    if _MISREAD.search(answer) or _MISREAD.search(gold):
        return Verdict(False, "not the same text, and in a notation with more than one reading")
    if number is not None and number.places and number.value.denominator > 1:
        return Verdict(*same_rounded(number, gold))
    if (_variables(answer) - _variables(gold)) & set(map(_other_case, _variables(gold))):
        return Verdict(False, "a variable of the other case")
    if _num_primes(answer) != _num_primes(gold):  # Math-Verify drops them
        return Verdict(False, "other primes than the reference's")
    if of_other_size(answer, gold):
        return Verdict(False, "a number of another size")
    return Verdict(same_expression(answer, gold), "compared by Math-Verify")


def _verify_items(answer: Items, gold: Items, *, evaluated: bool) -> Verdict:
    """Ordered items pair up one by one, in the same brackets; of sets and bare lists, each has a partner."""
    if (answer.opening, answer.closing) != (gold.opening, gold.closing):
        return Verdict(False, "other brackets than those of the reference")
    if gold.ordered:
        same = len(answer.parts) == len(gold.parts) and all(
            _verify_side(part, wanted, evaluated=evaluated).equal
            for part, wanted in zip(answer.parts, gold.parts, strict=True)
        )
        return Verdict(same, "compared item by item, in order")
    missing = list(gold.parts)
    for part in answer.parts:
        partners = [wanted for wanted in gold.parts if _verify_side(part, wanted, evaluated=evaluated).equal]
        if not partners:
            return Verdict(False, f"{part[:80]!r} is none of the reference's items")
        missing = [wanted for wanted in missing if wanted not in partners]
    return Verdict(not missing, "compared item by item, in any order")


def _same_text(one: str, other: str) -> bool:
    r"""Equality up to spaces that part no two letters or digits, and braces around one of them: `x^{2}`, `\sqrt{2}`."""
    return _compact(one) == _compact(other)


def _compact(text: str) -> str:
    text = re.sub(r"(?<!\w) | (?!\w)", "", re.sub(r"\\sqrt ?(\w)(?!\w)", r"\\sqrt{\1}", text))
    return re.sub(r"([_^])\{(\w)\}(?!\w)", r"\1\2", text)


def _is_named_chain(sides: list[str]) -> bool:
    r"""Whether a reference's sides are a name and values: no parts of `\sum_{k=0}^n`, nor of `x = 1, y = 2`."""
    if len(sides) < 2 or not all(sides) or not _NAME.fullmatch(sides[0]):
        return False
    return len(sides) == 2 or all(_balanced(side) and "," not in side for side in sides)


def _balanced(text: str) -> bool:
    depth = 0
    for character in text.replace("\\{", "").replace("\\}", ""):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def _numbers(*texts: str) -> list[Number | None]:
    """Numbers out of texts. `2x` is one beside `3x`; beside anything else it is an expression."""
    numbers = [parse_number(text) for text in texts]
    if len({number and number.unit for number in numbers}) == 1:
        return numbers
    return [None if number and number.symbolic else number for number in numbers]


def _variables(text: str) -> set[str]:
    r"""The letters of a text that stand for themselves, one by one: those of `ABx`, and `\Theta`."""
    return set(re.findall(r"\\[A-Za-z]+|[^\W\d_]", _NO_VARIABLES.sub(" ", text)))


def _other_case(variable: str) -> str:
    r"""The variable with its first letter, which may stand behind a backslash, in the other case."""
    start = variable.startswith("\\")
    return variable[:start] + variable[start : start + 1].swapcase() + variable[start + 1 :]


def _num_primes(text: str) -> int:
    return len(re.findall(r"['′]|\\prime(?![a-z])", text))
