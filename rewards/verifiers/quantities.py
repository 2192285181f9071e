"""Numbers with units out of answer text, converted by pint in exact fractions. Text is never evaluated.

pint is asked for the names of single units and for conversions; its parser of expressions sees no text.
"""

import functools
import logging
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rewards.verifiers.numbers import parse_number, plain

MAX_UNIT_CHARS = 100
MAX_EXPONENT = 9
MAX_FACTORS = 8

Unit = tuple[tuple[str, int], ...]  # pint's names and exponents, sorted; a name that pint does not know is a unit, too

_EXPONENT = re.compile(r"\^ ?\{ ?([+-]?\d) ?\}")
_NUMBER = re.compile(
    r"(?P<currency>-?[$€£] ?)?(?P<number>[+-]? ?(?:\d+ \d+ ?/ ?\d+"
    r"|\d* ?\\[dtc]?frac ?(?:\{ ?-?\d+ ?\}|\d) ?(?:\{ ?\d+ ?\}|\d)"
    r"|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d*)(?:\.\d*)?(?: ?/ ?\d+(?![\d.]))?)"
    r"(?: ?(?:[eE]|(?:\*|\\times|\\cdot) ?10 ?\^) ?\{?[+-]?\d{1,3}\}?)?)"
)
_POWER_OF_TEN = re.compile(r"([+-]?) ?10 ?(?=\^)")
_SCIENTIFIC = re.compile(r" ?(?:\*|\\times|\\cdot) ?10 ?\^ ?\{?([+-]?\d{1,3})\}?")
_UNIT_FRACTION = re.compile(r"\\[dtc]?frac ?\{([^{}]*)\} ?\{([^{}]*)\}")
_CELSIUS = re.compile(r"(?:°|\bdeg(?:rees?)?\b) ?([CF])(?:elsius|ahrenheit)?(?![A-Za-z])", re.IGNORECASE)
_SQUARE = re.compile(r"\b(square|sq|cubic) ([A-Za-z]{1,32})")
_SQUARED = re.compile(r"([A-Za-z]{1,32}) (squared|cubed)\b")
_TOKEN = re.compile(
    r" *(?:(?P<name>[A-Za-zμΩÅ]{1,32}+|[°%$€£])(?: ?\^ ?(?P<power>[+-]?\d)|(?P<digit>[23]))?(?![\d^])"
    r"|(?P<operator>[/*()]|\\cdot(?![a-z])|\\times(?![a-z]))) *"
)
_UNFINISHED = re.compile(r"(?:[/*(]|\\cdot|\\times)$")
_COMMANDS = (("\\mu ", "μ"), ("\\mu", "μ"), ("\\Omega", "Ω"), ("\\circ", "°"))
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cubed": 3}
_SPELLED = {
    "°": "degree",
    "%": "percent",
    "dollar": "$",
    "dollars": "$",
    "USD": "$",
    "euro": "€",
    "euros": "€",
    "EUR": "€",
    "GBP": "£",
}
_TEMPERATURES = {"kelvin", "degree_Celsius", "degree_Fahrenheit"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A rational value in a unit; the empty unit is that of a bare number."""

    value: Fraction
    unit: Unit


def read_quantity(text: str) -> Quantity | None:
    r"""One number with or without a unit: `9.81 m/s^2`, `\frac12\,\text{kg}`, `$5`, `50 %`, `1.5e3`; else None.

    After a slash or `per` every factor is below it: `J/kg K` is J/(kg K).
    """
    text = plain(_EXPONENT.sub(r"^\1", text))
    found = _NUMBER.match(_POWER_OF_TEN.sub(r"\g<1>1*10", text, count=1) if _POWER_OF_TEN.match(text) else text)
    if found is None or not any(character.isdigit() for character in found["number"]):
        return None
    currency = found["currency"] or ""
    written = _SCIENTIFIC.sub(r"e\1", found["number"])
    number = parse_number("-" + written if "-" in currency else written)
    unit = read_unit(currency.strip(" -") or found.string[found.end() :])
    if number is None or number.percent or number.unit or unit is None:
        return None
    return Quantity(number.value, unit) if not currency or found.end() == len(found.string) else None


def read_unit(text: str) -> Unit | None:
    """The unit that a text is, `()` for a blank one; None for what is no unit."""
    if len(text) > MAX_UNIT_CHARS:
        return None
    text = plain(_EXPONENT.sub(r"^\1", text))
    for command, letter in _COMMANDS:
        text = text.replace(command, letter)
    text = _CELSIUS.sub(lambda found: f"deg{found[1].upper()}", _UNIT_FRACTION.sub(r"((\1)/(\2))", text))
    text = _SQUARE.sub(lambda found: f"{found[2]}^{_POWERS[found[1]]}", text)
    text = _SQUARED.sub(lambda found: f"{found[1]}^{_POWERS[found[2]]}", text)
    return _read_factors(re.sub(r"\bper\b", "/", text).strip())


def _read_factors(text: str) -> Unit | None:
    """The product that a text of names, powers, slashes and brackets is; None where it is anything else."""
    if _UNFINISHED.search(text):
        return None
    exponents: Counter[str] = Counter()
    sign, outer, position = 1, [1], 0  # of the next factor; of the group, and of those around it
    returns: list[int] = []
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        if token["name"]:
            exponents[unit_name(token["name"])] += sign * int(token["power"] or token["digit"] or 1)
        elif token["operator"] == "/":
            sign = -outer[-1]
        elif token["operator"] == "(":
            returns.append(sign)
            outer.append(sign)
        elif token["operator"] == ")":
            if not returns:
                return None
            outer.pop()
            sign = returns.pop()
        position = token.end()
    if returns or len(exponents) > MAX_FACTORS or any(abs(exponent) > MAX_EXPONENT for exponent in exponents.values()):
        return None
    return tuple(sorted((name, exponent) for name, exponent in exponents.items() if exponent))


def convert(quantity: Quantity, unit: Unit) -> Fraction | None:
    """The value of a quantity in another unit, exact but for pint's own constants; None where there is no such value.

    Temperatures are converted as points of their scales, not as differences.
    """
    if quantity.unit == unit:
        return quantity.value
    if not (_is_linear(quantity.unit) and _is_linear(unit)) and not (_is_temperature(quantity.unit, unit)):
        return None
    import pint

    registry = _registry()
    try:
        target = registry.Unit(registry.UnitsContainer(dict(unit)))
        source = registry.Quantity(quantity.value, registry.UnitsContainer(dict(quantity.unit)))
        return Fraction(source.to(target).magnitude)
    except pint.errors.PintError:
        return None


def _is_temperature(*units: Unit) -> bool:
    return all(len(unit) == 1 and unit[0][0] in _TEMPERATURES and unit[0][1] == 1 for unit in units)


@functools.lru_cache(maxsize=4096)
def _is_linear(unit: Unit) -> bool:
    """Whether nothing of a unit is nothing of any other: not so for degrees Celsius, decibels and unknown words."""
    import pint

    try:
        return all(_nothing(name) == 0 for name, _ in unit)
    except (pint.errors.PintError, TypeError, ArithmeticError):  # a logarithm of fractions is refused by numpy
        return False


def _nothing(name: str) -> Any:
    registry = _registry()
    return registry.Quantity(Fraction(0), registry.UnitsContainer({name: 1})).to_root_units().magnitude


@functools.lru_cache(maxsize=4096)
def unit_name(name: str) -> str:
    """pint's name of a unit, by its name or symbol; an unknown word is itself, in lower case and without a plural s."""
    import pint

    name = _SPELLED.get(name, name)
    for spelling in (name, name.lower()):
        try:
            return str(_registry().get_name(spelling))
        except (pint.errors.UndefinedUnitError, pint.errors.OffsetUnitCalculusError):
            continue
    return name.lower().removesuffix("s") or name


def load_units() -> None:
    """Import pint and read its units: half a second."""
    _registry().get_name("metre")


@functools.cache
def _registry() -> Any:
    import pint

    logging.getLogger("pint").setLevel(logging.ERROR)  # it warns of names with more than one reading
    return pint.UnitRegistry(non_int_type=Fraction)
