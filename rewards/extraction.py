"""The answer that a response commits to: its last box, or leniently what it says its answer is. Linear in the text."""

import re

from rewards.response import clean, last_boxed, split_response, tail

EXTRACT = "boxed", "lenient"
MAX_COMMITTED_CHARS = 200  # of a sentence or equation that names an answer, in lenient extraction

_CUE = re.compile(r"\b(?:answer|result) ?(?:is|:|=)[ :=]*\n*", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])|`")
_MATHS = re.compile(r"\$\$?(?P<dollars>[^$]+)\$|\\\((?P<inline>.+?)\\\)|\\\[(?P<display>.+?)\\\]")
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?"
_LAST_NUMBER = re.compile(rf"(?<![\w.])-?{_NUMBER.removeprefix('[-+]?')}|\d+(?:\.\d+)?")
_LEADING_NUMBER = re.compile(rf"{_NUMBER}(?![\d/^!*+\\-])")
_HEDGE = re.compile(r",?(?: [A-Za-z]+)?,? (?:or|and) (?:[A-Za-z]+ )?[$\\(\-]*\d")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_COMMANDS = re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\{[^{}]*\}")
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\n")
_ENDS = re.compile(r"^[\s*]+|[\s*.]+$")


def extract_answer(response: str, extract: str = "boxed") -> str | None:
    """The cleaned answer, or None. Raises BoundExceeded for a huge box, ValueError for an unknown `extract`."""
    if extract not in EXTRACT:
        raise ValueError(f"params.extract: unknown {extract!r}; known are {', '.join(EXTRACT)}")
    answer = split_response(response).answer
    if answer is None:
        return None
    boxed = last_boxed(answer)
    if boxed is not None or extract == "boxed":
        return clean(boxed or "") or None
    return _lenient(clean(tail(answer))) or None


def _lenient(text: str) -> str:
    """What follows the last `answer is`; else what a closing equation or formula says; else the last number."""
    text = "\n".join(" ".join(line.split()) for line in _EMPHASIS.sub("", text).splitlines() if line.strip())
    cues = list(_CUE.finditer(text))
    if cues:
        return _committed(text[cues[-1].end() :])
    last_line = text.rpartition("\n")[2]
    formula = _only_formula(last_line)
    if formula is not None:
        return formula
    before, sign, closing = last_line.rpartition("=")
    if sign and len(closing) <= MAX_COMMITTED_CHARS and re.search(r"[\d\\]", closing):
        return _committed(_open_maths(before, closing))
    return _last_number(text)


def _committed(text: str) -> str:
    """The answer at the start of a text: a formula, an expression without prose, its leading or its last number."""
    formula = _MATHS.match(text)
    if formula is not None:
        return _inside(formula) if not _HEDGE.match(text, formula.end()) else _trimmed(_first_sentence(text))
    sentence = _trimmed(_first_sentence(text))
    if not _WORD.search(_COMMANDS.sub("", sentence)):
        return sentence
    number = _LEADING_NUMBER.match(sentence)
    if number is not None:
        return number.group() if not _HEDGE.match(sentence, number.end()) else sentence
    formulas = list(_MATHS.finditer(sentence))
    return _inside(formulas[-1]) if formulas else _last_number(sentence)


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(text[:MAX_COMMITTED_CHARS], maxsplit=1)[0]


def _only_formula(line: str) -> str | None:
    line = line.removesuffix(".")
    formula = _MATHS.match(line)
    if formula is None or line[formula.end() :].strip("$ "):
        return None
    return _inside(formula).rpartition("=")[2].strip()


def _inside(formula: re.Match[str]) -> str:
    return (formula["dollars"] or formula["inline"] or formula["display"]).strip()


def _open_maths(before: str, closing: str) -> str:
    """The right side of an equation without the delimiter that its left side opened."""
    if before.count("$") % 2:
        return closing.partition("$")[0]
    for opening, end in (("\\(", "\\)"), ("\\[", "\\]")):
        if before.rfind(opening) > before.rfind(end):
            return closing.partition(end)[0]
    return closing.strip()


def _trimmed(text: str) -> str:
    return _ENDS.sub("", text)


def _last_number(text: str) -> str:
    numbers = _LAST_NUMBER.findall(text)
    return numbers[-1] if numbers else ""
