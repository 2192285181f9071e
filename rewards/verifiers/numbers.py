"""Exact rational numbers out of answer text: no floats, no evaluation."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 200

_SPACING = re.compile(r"(?<!\\)\\(?:[,;:! ]|(?:left|right|displaystyle|quad|qquad|limits)(?![a-zA-Z]))|~")
_THOUSANDS = re.compile(r"(?<=\d)(?:(?:\\,|\{,\}|\\!,|\\ )(?=\d{3}(?!\d))|,\\! ?(?=\d))")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?=$| \d+/\d+|\.\d| ?[^\d\s/,.])")
_BETWEEN_MATHS = re.compile(r" ?(?<!\\)\$(,? (?:and|or) |, ?)\$ ?")
_WRAPPER = re.compile(
    r"\\(?:text|mathrm|textbf|textrm|textnormal|mathbf|textit|operatorname|mbox|mathcal)\s?\{([^{}]*)\}"
)
_PI = re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])")
_ROOT = re.compile(r"√\s?(?:\(([^()]*)\)|(\w+))")
_SYMBOLS = {
    "π": "\\pi ",
    "∞": "\\infty ",
    "≤": "\\le ",
    "≥": "\\ge ",
    "×": "\\times ",
    "·": "\\cdot ",
    "⋅": "\\cdot ",
    "÷": "\\div ",
    "∪": "\\cup ",
    "∈": "\\in ",
    "±": "\\pm ",
    "^\\circ": "°",
    "^{\\circ}": "°",
    "\\degree": "°",
    "\\%": "%",
    "\\$": "$",
}
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([^{}]*)\}|(\d))\s?(?:\{([^{}]*)\}|(\d))")
_MIXED = re.compile(r"([+-]?)(\d+) (\d+/\d+)(?=$|\D)")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?) ?(?P<int>\d{1,3}(?:,\d{3})+|\d*)(?:\.(?P<frac>\d+))?\.?"
    r"(?: ?/ ?(?P<den>-?\d+))?(?: ?(?:e|E|\*10\^|\\times10\^|\\cdot10\^)\{?(?P<exp>[+-]?\d{1,3})\}?)?"
    r" ?(?P<percent>%?) ?(?P<unit>[^\d%]*(?:\^\{?[23]\}?)?)"
)
_UNIT = re.compile(r"[A-Za-z°$€£µ][A-Za-z°/²³ .-]*(?:\^\{?[23]\}?)?|")
_PERCENT = frozenset({"percent", "per cent", "pct", "percentage"})
_SPELLED = {"degrees": "°", "degree": "°", "dollars": "$", "dollar": "$", "euros": "€", "euro": "€", "pounds": "£"}
_SPELLED_OUT = re.compile(r"(?<![A-Za-z])(?:[A-Z][a-z]{2,}|[A-Z]{4,})(?![A-Za-z])")  # `Metres`, but neither MHz nor kWh
# What may touch its number: no unit that is as well a product of variables, as mg, nm and eV are; `m` is the exception.
_TOUCHING = re.compile("[mck]?m|ft|yd|kg|lbs?|oz|mL|hrs?|mins?|secs?|[mk]ph|[kM]?Hz|kWh?|kJ|kPa|mol|rad|deg")
_AFTER_SPACE = re.compile(
    "[gshLNJWVAKCFT]|[mu]g|ml|[dc]L|[nud]m|in|mi|[mun]s|[mMG]W|[kM]N|[ek]V|[mM]V|[mk]A|M?Pa|lx|lm|cd|ha|ly|au|pc|pt|qt"
    "|cc|sq|am|pm|px|[kKMGTd]B|[rR]s|pts|yrs"
)
_NAMED_UNIT = re.compile(
    r"(?:kilo|centi|milli|deci)?(?:met(?:er|re)|gram|lit(?:er|re))s?|inch(?:es)?|foot|feet|(?:yard|mile|pound|ounce"
    r"|second|minute|hour|day|week|month|year|degree|radian|dollar|cent|euro|unit|gallon)s?"
)
_WORD = re.compile(r"(?=[A-Za-z]*[AEIOUaeiou])[A-Za-z]{3,}")
_NO_UNIT = re.compile("sin|cos|tan|cot|csc|log|exp|mod|sqrt|alpha|beta|gamma|delta|theta|lambda|sigma|phi|omega")
_FACTORS = re.compile(r"[ /.-]+")
_POWER = re.compile(r"\^?\{?[23]\}?$|[²³]$")
_LAST_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z]+$")
_COMMAND = re.compile(r"\\[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Number:
    """A rational value; `places` are the decimal places it was written with.

    `symbolic` is a number whose letters are variables: `2x`, where `2 apples` and `2cm` have units.
    """

    value: Fraction
    places: int
    percent: bool
    unit: str
    symbolic: bool


def plain(text: str) -> str:
    r"""Answer text without what only dresses it: `$`, `\(`, `\text{}`, spacing commands, a closing full stop."""
    text = " ".join(text.split())
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing) - 1:
            text = text[len(opening) : -len(closing)].strip()
    text = _BETWEEN_MATHS.sub(r"\1", text)
    text = _SPACING.sub(" ", _THOUSANDS.sub("", text).replace("\\!", ""))
    text = _WRAPPER.sub(r" \1", text)
    for symbol, command in _SYMBOLS.items():
        text = text.replace(symbol, command)
    text = _PI.sub(r"\\pi ", text)
    text = _ROOT.sub(lambda found: f"\\sqrt{{{found[1] or found[2]}}}", text)
    return " ".join(text.split()).removesuffix(".").rstrip("\\ ")


def parse_number(text: str) -> Number | None:
    r"""A number with an optional percent sign and unit, or None. `a/b`, `\frac{a}{b}`, `1 1/2`, `1,234`, `1e5` count.

    Numbers of more than MAX_DIGITS digits are not read.
    """
    if sum(c.isdigit() for c in text) > MAX_DIGITS:
        return None
    text = plain(text)
    if grouped := _GROUPED.match(text):  # `1 000`; what is in front of a bar is no group: `1 234/567`
        text = grouped.group().replace(" ", "") + text[grouped.end() :]
    text = _flat_fraction(text).replace("\\times 10", "\\times10").replace("\\cdot 10", "\\cdot10")
    sign, text = ("-", text[1:]) if text[:1] == "-" and text[1:2] in tuple("$€£") else ("", text)
    currency = text[:1] if text[:1] in tuple("$€£") else ""
    found = _NUMBER.fullmatch(text[len(currency) :].strip())
    if not found or not (found["int"] or found["frac"]) or (sign and found["sign"]):
        return None
    if not all(part.isascii() for part in (found["int"], found["frac"] or "", found["den"] or "", found["exp"] or "")):
        return None
    unit = currency or found["unit"].strip()
    if not _UNIT.fullmatch(unit) or (found["den"] and int(found["den"]) == 0):
        return None
    whole, fraction = (found["int"] or "0").replace(",", ""), found["frac"] or ""
    value = Fraction(int(whole + fraction), 10 ** len(fraction))
    if found["den"]:
        value /= int(found["den"])
    if found["exp"]:
        value *= Fraction(10) ** int(found["exp"])
    value = -value if "-" in (sign, found["sign"]) else value
    if _canonical(unit) in _PERCENT:
        return Number(value, len(fraction), True, "", False)
    touches = not found.string[: found.start("unit")].endswith(" ")
    symbolic = bool(unit) and not _is_unit(unit, touches)
    return Number(value, len(fraction), bool(found["percent"]), unit if symbolic else _canonical(unit), symbolic)


def parse_rational(text: str) -> Fraction | None:
    """The value of a number without unit and percent sign; None for anything else."""
    number = parse_number(text)
    return number.value if number and not number.unit and not number.percent else None


def has_unit(text: str) -> bool:
    r"""Whether a text's last letters are a unit: `\sqrt{3} cm`; not so in `2ab`, `\sqrt{2}s` and `\pi r^2 h`."""
    found = _LAST_LETTERS.search(text)
    if found is None:
        return False
    before = text[: found.start()]
    touches = not before.endswith(" ")
    if touches or len(found.group()) == 1:  # a single letter, or one that touches, is a unit of numbers alone
        after_number = before.rstrip()[-1:].isdigit() or before.rstrip().endswith(("}", ")"))
        if not after_number or re.search("[A-Za-z]", _COMMAND.sub(" ", before)):
            return False
    return _is_unit(found.group(), touches)


def _is_unit(unit: str, touches: bool) -> bool:
    """Whether letters behind a number are its unit, and no variables: known ones, and words after a space."""
    factors = [_POWER.sub("", factor) for factor in _FACTORS.split(unit) if factor]
    if not factors or unit[0] in "°$€£µ":
        return bool(factors)
    if "." in unit and not touches:
        return True  # an abbreviation: `P.M.`
    if touches and not _may_touch(factors[0]):
        return False
    if any(_WORD.fullmatch(factor) and not _NO_UNIT.fullmatch(factor.lower()) for factor in factors[touches:]):
        return True
    if len(factors) > 1 and "/" not in unit and unit != "N m" and all(len(factor) == 1 for factor in factors):
        return False  # `m g h` are masses and heights
    return all(_may_touch(factor) or _AFTER_SPACE.fullmatch(factor) for factor in factors)


def _may_touch(factor: str) -> bool:
    """Whether a factor is a unit by its name, or by a symbol that is read so beside a digit, too."""
    return bool(_TOUCHING.fullmatch(factor) or _NAMED_UNIT.fullmatch(factor.lower()))


def _canonical(unit: str) -> str:
    """A unit in one spelling of several: words in lower case, `°` for degrees, `cm^2` for `cm^{2}`."""
    unit = " ".join(unit.replace("{", "").replace("}", "").split())
    unit = _SPELLED_OUT.sub(lambda found: found.group().lower(), unit)
    return _SPELLED.get(unit, unit)


def _flat_fraction(text: str) -> str:
    r"""`\frac{3}{4}` as `3/4`; a mixed number `1\frac{1}{2}` or `1 1/2` as an improper fraction."""
    mixed = _MIXED.match(text)
    if mixed and _is_proper(*mixed[3].split("/")):
        return _improper(mixed[1] + mixed[2], *mixed[3].split("/")) + text[mixed.end() :]
    found = _FRACTION.search(text)
    if not found or _FRACTION.search(text, found.end()):
        return text
    top, bottom = (found[1] or found[2] or "").strip(), (found[3] or found[4] or "").strip()
    if not (re.fullmatch(r"-?\d+", top) and re.fullmatch(r"-?\d+", bottom)):
        return text
    before = text[: found.start()].strip()
    if re.fullmatch(r"-?\d+", before):
        return _improper(before, top, bottom) + text[found.end() :]
    return f"{before}{top}/{bottom}{text[found.end() :]}"


def _is_proper(top: str, bottom: str) -> bool:
    """Whether a fraction may stand in a mixed number: `11 7/6` has no one reading."""
    return 0 <= int(top) < int(bottom)


def _improper(whole: str, top: str, bottom: str) -> str:
    sign = -1 if whole.startswith("-") else 1
    return f"{int(whole) * int(bottom) + sign * int(top)}/{int(bottom)}"


def same_number(answer: Number, reference: Number) -> bool:
    """Exact equality of value and unit. A missing unit is accepted, another one is not, nor are missing variables.

    A percent reference accepts 50 % as 50 and as 0.5; a plain reference never accepts 100 times itself.
    """
    if answer.unit != reference.unit and (answer.unit or reference.symbolic):
        return False
    if reference.percent:
        allowed = {reference.value} if answer.percent else {reference.value, reference.value / 100}
        return answer.value in allowed
    return (answer.value / 100 if answer.percent else answer.value) == reference.value
