"""Answers that reasoning-gym's scoring functions must not be shown, by generator.

Some run the answer as Python (`eval`, `sympy.parse_expr`); some call wrong answers right (read in version 0.1.25, and
each tried in tests/rewards/test_reasoning_gym.py). A guard says why an answer is refused, or None.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

MAX_EXPRESSION_CHARS = 1_000
MAX_EXPONENT = 999  # of a power, and of a power of a power in all

Guard = Callable[[str, Mapping[str, Any]], str | None]

_FUNCTIONS = frozenset(
    ("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln",
     "sqrt", "pi", "E", "C")
)  # fmt: skip
_ALGEBRA = re.compile(r"(?:\d{1,50}(?:\.\d{1,50})?(?![\d.])|[A-Za-z_]\w{0,20}+|\*\*|[-+*/() \t\n])*+")
_NAME = re.compile(r"[A-Za-z_]\w*+")
_POWER = re.compile(r"\*\*\s*+(?:(?P<plain>\d{1,3})(?![\d.])|\(\s*-?(?P<inside>\d{1,3})(?:/\d{1,3})?\s*\)|[a-zA-Z(])")
_AMOUNT = re.compile(r"[$€£]? ?(-?\d[\d,]{0,50}(?:\.\d{1,50})?) ?(?:[%$€£]|[A-Za-z]{1,30}(?: [A-Za-z]{1,30})?)?\.?")
_MOVE = re.compile(r"[A-Za-z]{1,2}'?\d{0,2}'?")
_BARE_WORD = re.compile(r"[^\W_]++")
_FILLERS = {"is", "a", "an", "and"}
_PLAIN = re.compile(r"[\w\s+*/(),.-]*+")
_RUN_OF_ENTRY = {  # what a generator runs of its entry: the field, and what it consists of
    "bitwise_arithmetic": ("problem", re.compile(r"[0-9a-fA-Fx()\s+*<>&|^~-]*+")),
    "intermediate_integration": ("integrand", _PLAIN),
    "number_sorting": ("answer", re.compile(r"[][\d\s,.'\"+eE-]*+")),
    "polynomial_multiplication": ("answer", _PLAIN),
    "simple_integration": ("integrand", _PLAIN),
}
_INERT = (ast.Expression, ast.List, ast.Tuple, ast.Set, ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.USub)


def refuse(generator: str, answer: str, entry: Mapping[str, Any]) -> str | None:
    """Why the answer is wrong without the generator being asked; None where it may be asked."""
    guard = GUARDS.get(generator)
    return guard(answer, entry) if guard else None


def holds_code(generator: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry, which may come from anywhere, has more in what its generator runs than it ever makes itself."""
    name, pattern = _RUN_OF_ENTRY.get(generator, ("", _PLAIN))
    text = entry["answer"] if name == "answer" else entry["metadata"].get(name, "")
    return not isinstance(text, str) or not pattern.fullmatch(text) or "__" in text


def _only_literals(answer: str, entry: Mapping[str, Any]) -> str | None:
    """For `eval`: what is no Python at all does no harm there, nor do literals and bare names."""
    try:
        tree = ast.parse(answer.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return None
    except (MemoryError, RecursionError):
        return "nested too deep"
    return None if all(isinstance(node, _INERT) for node in ast.walk(tree)) else "an expression, where data is wanted"


def _algebra(answer: str, entry: Mapping[str, Any]) -> str | None:
    """For `sympy.parse_expr`: numbers, the problem's own names, elementary functions, `+ - * / **` and brackets."""
    if len(answer) > MAX_EXPRESSION_CHARS or not _ALGEBRA.fullmatch(answer):
        return "no expression of numbers, names and + - * / **"
    metadata = entry["metadata"]
    problem = (entry["answer"], metadata.get("integrand", ""), metadata.get("variable", ""))
    unknown = set(_NAME.findall(answer)) - _FUNCTIONS - {name for text in problem for name in _NAME.findall(str(text))}
    if unknown:
        return f"a name that the problem does not have: {min(unknown)[:20]}"
    total, end = 1, 0
    for power in _POWER.finditer(answer):
        total *= (
            max(int(power["plain"] or power["inside"] or 1), 1) if answer[: power.start()].rstrip()[-1:] == ")" else 1
        )
        end += 1
    if end != answer.count("**") or total > MAX_EXPONENT:
        return f"an exponent beyond {MAX_EXPONENT}"
    return None


def _arithmetic(target: Callable[[Mapping[str, Any]], int]) -> Guard:
    """All the given numbers, each once, and exactly the target: puzzle24 takes any numbers, and 24.9 for 24."""

    def guard(answer: str, entry: Mapping[str, Any]) -> str | None:
        if len(answer) > MAX_EXPRESSION_CHARS or not re.fullmatch(r"[\d\s+*/()-]+", answer) or "**" in answer:
            return "no expression of whole numbers and + - * /"
        try:
            value = _value(ast.parse(" ".join(answer.split()), mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError, MemoryError, RecursionError) as error:
            return f"no arithmetic: {type(error).__name__}"
        if sorted(map(int, re.findall(r"\d+", answer))) != sorted(entry["metadata"]["numbers"]):
            return "not the given numbers, each once"
        return None if value == target(entry["metadata"]) else f"not {target(entry['metadata'])}"

    return guard


def _value(node: ast.AST) -> Fraction:
    """The exact value of a tree of whole numbers, signs and `+ - * /`. Raises ValueError for any other node."""
    match node:
        case ast.Constant(value=int() as number):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            return -_value(operand) if isinstance(sign, ast.USub) else _value(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left) + _value(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left) - _value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left) * _value(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _value(left) / _value(right)
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _same(read: Callable[[str], Any]) -> Guard:
    """The entry's answer, after `read`: where the generator pays in full for a part, or for anything."""

    def guard(answer: str, entry: Mapping[str, Any]) -> str | None:
        try:
            return None if read(answer) == read(entry["answer"]) else "not the answer"
        except (ValueError, TypeError, ArithmeticError):
            return "not of the answer's form"

    return guard


def _words(text: str) -> list[str]:
    return text.casefold().split()


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _exact_list(text: str) -> list[Fraction]:
    """Numbers, or their texts, of a JSON list: number_sorting is content with any within 1, NaN included."""
    values = json.loads(text.replace("'", '"'))
    if not isinstance(values, list) or any(len(str(value)) > 50 for value in values):
        raise ValueError("no list of numbers")
    return [Fraction(str(value)) for value in values]


def _probability(answer: str, entry: Mapping[str, Any]) -> str | None:
    """coin_flip pays by the digits in common of the shorter of the two: in full for `0` where it is 0.25."""
    if not re.fullmatch(r"\s*\d{1,50}(?:\.\d{1,50}|/\d{1,50})?\s*", answer):
        return "no probability"
    try:
        near = abs(float(Fraction(answer)) - float(Fraction(entry["answer"].replace(",", "")))) <= 1e-4
    except ZeroDivisionError:
        near = False
    return None if near else "not the probability"


def _one_number(answer: str, entry: Mapping[str, Any]) -> str | None:
    """gsm_symbolic takes the first of several numbers, without its sign, after any words: `not 20`."""
    number = _AMOUNT.fullmatch(answer.strip())
    if not number:
        return "no single number, with a unit or without"
    return None if _float(number[1]) == _float(entry["answer"]) else "not the number"


def _float(number: str) -> float:
    return float(number.replace(",", ""))


def _form(pattern: str) -> Guard:
    """Nothing but the answer: for generators that overlook what they do not know, as in `not A`, or stop reading."""
    whole = re.compile(pattern)
    return lambda answer, entry: None if whole.fullmatch(answer.strip()) else "not of the answer's form"


def _as_many_parts(answer: str, entry: Mapping[str, Any]) -> str | None:
    """advanced_geometry reads the first two coordinates of any number of them."""
    return None if answer.count(",") == entry["answer"].count(",") else "too many or too few coordinates"


def _same_words(answer: str, entry: Mapping[str, Any]) -> str | None:
    """knights_knaves takes the pairs of names and roles that it finds, whatever stands between them."""
    own, given = (sorted(set(_BARE_WORD.findall(text.lower())) - _FILLERS) for text in (entry["answer"], answer))
    many = len(_BARE_WORD.findall(answer)) > len(_BARE_WORD.findall(entry["answer"]))
    return "more or other words than names and roles" if own != given or many else None


def _actions(answer: str, entry: Mapping[str, Any]) -> str | None:
    """boxnet raises for what is no list of objects with texts."""
    try:
        steps = json.loads(answer)
    except ValueError:
        return "no JSON"
    well_formed = isinstance(steps, list) and all(
        isinstance(step, dict)
        and all(isinstance(move, str) and len(re.findall(r"\d+", place)) > 1 for place, move in step.items())
        for step in steps
    )
    return None if well_formed else "no list of steps"


def _numbers(answer: str, entry: Mapping[str, Any]) -> str | None:
    """polynomial_equations leaves out what is no number, and pays for nothing where there is no solution."""
    try:
        values = [float(part) for part in answer.split(",")] if answer.strip() else []
    except ValueError:
        return "no list of numbers"
    return None if all(map(math.isfinite, values)) and bool(values) == bool(entry["answer"]) else "no solution"


def _finite(answer: str, entry: Mapping[str, Any]) -> str | None:
    """complex_arithmetic takes `nan` for any number: min(1, nan) is 1."""
    return "no number" if re.search(r"nan|inf", answer, re.IGNORECASE) else None


def _moves(pattern: re.Pattern[str]) -> Guard:
    """Moves, each repeated less than a hundred times: the generator makes as many steps as it is told."""

    def guard(answer: str, entry: Mapping[str, Any]) -> str | None:
        return None if all(pattern.fullmatch(move) for move in answer.split()) else "no list of moves"

    return guard


def _conclusion(answer: str, entry: Mapping[str, Any]) -> str | None:
    """propositional_logic takes a premise for a conclusion."""
    if len(answer) > MAX_EXPRESSION_CHARS:
        return "an expression that is too long"
    premises = {_bare(premise) for premise in entry["metadata"]["premises"]}
    return "a premise, not a conclusion" if _bare(answer) in premises else None


def _bare(expression: str) -> str:
    text = "".join(expression.split())
    while text.startswith("(") and text.endswith(")") and _encloses(text):
        text = text[1:-1]
    return text


def _encloses(text: str) -> bool:
    """Whether the first bracket is closed by the last."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position == len(text) - 1
    return False


GUARDS: dict[str, Guard] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _only_literals),
    **dict.fromkeys(("intermediate_integration", "polynomial_multiplication", "simple_integration"), _algebra),
    "advanced_geometry": _as_many_parts,
    "boxnet": _actions,
    "coin_flip": _probability,
    "complex_arithmetic": _finite,
    "countdown": _arithmetic(lambda metadata: metadata["target"]),
    "figlet_font": _same(lambda text: text.replace(" ", "").strip().lower()),
    "fraction_simplification": _form(r"\$?\s*(?:\\d?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|\d+\s*/\s*\d+)\s*\$?"),
    "game_of_life": _same(json.loads),
    "game_of_life_halting": _same(_words),
    "gsm_symbolic": _one_number,
    "kakurasu": _form(r"[01\s]+"),
    "knights_knaves": _same_words,
    "letter_jumble": _same(_words),
    "number_sorting": _same(_exact_list),
    "polynomial_equations": _numbers,
    "propositional_logic": _conclusion,
    "puzzle24": _arithmetic(lambda metadata: 24),
    "quantum_lock": _form(r"[A-Ca-c](?:[\s→,>-]+[A-Ca-c])*|[A-Ca-c]+"),
    "rubiks_cube": _moves(_MOVE),
    "rush_hour": _moves(re.compile(r"[A-Z][+-]\d{1,2}")),
    "sokoban": _form(r"[UDLRudlr\s]+"),
    "spell_backward": _same(_words),
    "survo": _form(r"[-\d\s]+"),
    "time_intervals": _form(
        r"[+-]?\d{1,9}(?:\s+days?)?|(?:[+-]?\d{1,9} days?, )?\d{1,4}(?::\d{1,2}){1,2}(?:\.\d{1,6})?"
    ),
    "word_sorting": _same(_listed),
}
