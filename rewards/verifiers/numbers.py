"""Exact rational numbers out of answer text: no floats, no evaluation."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 200

_SPACING = re.compile(r"\\(?:[,;:! ]|left|right|displaystyle|quad|qquad|limits)(?![a-zA-Z])|~")
_WRAPPER = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|operatorname|mbox)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<int>\d{1,3}(?:,\d{3})+|\d*)(?:\.(?P<frac>\d+))?\.?"
    r"(?:\s*/\s*(?P<den>-?\d+))?(?:\s*(?:e|E|\*10\^|\\times10\^|\\cdot10\^)\{?(?P<exp>[+-]?\d{1,3})\}?)?"
    r"\s*(?P<percent>%?)\s*(?P<unit>[^\d%]*)"
)
_UNIT = re.compile(r"[A-Za-z°$€£][A-Za-z°/²³^0-9*\s.-]*|")


@dataclass(frozen=True, slots=True)
class Number:
    """A rational value; `places` are the decimal places it was written with, `unit` is lower-case text."""

    value: Fraction
    places: int
    percent: bool
    unit: str


def plain(text: str) -> str:
    r"""Answer text without what only dresses it: `$`, `\(`, `\text{}`, spacing commands, a closing full stop."""
    text = text.strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing) - 1:
            text = text[len(opening) : -len(closing)].strip()
    text = _SPACING.sub(" ", text.replace("{,}", ",").replace("\\!", ""))
    text = _WRAPPER.sub(r" \1", text)
    text = text.replace("^\\circ", "°").replace("^{\\circ}", "°").replace("\\%", "%")
    text = text.replace("\\$", "$").replace("\\degree", "°")
    return " ".join(text.split()).removesuffix(".").strip()


def parse_number(text: str) -> Number | None:
    r"""A number with an optional percent sign and unit, or None. `a/b`, `\frac{a}{b}`, `1,234` and `1e5` count.

    Numbers of more than MAX_DIGITS digits are not read.
    """
    if sum(c.isdigit() for c in text) > MAX_DIGITS:
        return None
    text = _flat_fraction(plain(text)).replace("\\times 10", "\\times10").replace("\\cdot 10", "\\cdot10")
    currency = text[:1] if text[:1] in "$€£" else ""
    found = _NUMBER.fullmatch(text[len(currency) :].strip())
    if not found or not (found["int"] or found["frac"]):
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
    value = -value if found["sign"] == "-" else value
    return Number(value, len(fraction), bool(found["percent"]), " ".join(unit.lower().split()))


def _flat_fraction(text: str) -> str:
    r"""`\frac{3}{4}` as `3/4`; a mixed number `1\frac{1}{2}` as an improper fraction."""
    found = _FRACTION.search(text)
    if not found or _FRACTION.search(text, found.end()):
        return text
    top, bottom = found[1] or found[2] or "", found[3] or found[4] or ""
    before = text[: found.start()].strip()
    simple = re.fullmatch(r"\s*-?\d+\s*", top) and re.fullmatch(r"\s*-?\d+\s*", bottom)
    if not simple:
        return text
    if re.fullmatch(r"-?\d+", before):
        sign = -1 if before.startswith("-") else 1
        return f"{int(before) * int(bottom) + sign * int(top)}/{int(bottom)}{text[found.end() :]}"
    return f"{before}{top.strip()}/{bottom.strip()}{text[found.end() :]}"


def same_number(answer: Number, reference: Number) -> bool:
    """Exact equality. A missing unit is accepted, another one is not; nothing is converted.

    A percent reference accepts 50 % as 50 and as 0.5; a plain reference never accepts 100 times itself.
    """
    if answer.unit and answer.unit != reference.unit:
        return False
    if reference.percent:
        allowed = {reference.value} if answer.percent else {reference.value, reference.value / 100}
        return answer.value in allowed
    return (answer.value / 100 if answer.percent else answer.value) == reference.value
