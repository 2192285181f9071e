"""Whether two texts are the same answer after SQuAD's normalisation (Rajpurkar et al. 2016, evaluation script)."""

import re
import string

from rewards.response import clean

_ARTICLES = re.compile(r"\b(?:a|an|the)\b(?= *\w)", re.IGNORECASE)
_OF_NUMBERS = r"(?<!\w)-(?=\.?\d)|(?<=\d)[-.,/:^*+](?=\d)|(?<!\w)\.(?=\d)"
_PUNCTUATION = re.compile(rf"(?P<kept>{_OF_NUMBERS})|(?P<deleted>[.'’])|[{re.escape(string.punctuation)}]")
# Markdown's emphasis, what it begins lines with, and the sign in front of what something equals.
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
_LINE_START = re.compile(r"^[ \t]*(?:[-+>] +(?=[^\W\d_]{2})|(?:\*|#{1,6}) +)|\A\s*=(?![=<>])", re.MULTILINE)

_OPERATORS = "+-<>=%#*/!~^"
_RUN = re.compile(rf"[{re.escape(_OPERATORS)}]+")
_CONTEXT = 3  # characters on either side of a run, which a line feed stands for below
_FREE = r"(?:^|[^\w)\]} ] ?)\n"  # there is nothing in front of it
_INFIX = r"[\w)\]}] ?\n ?[\w(\[{\\.$€£~+-]"
_AMOUNT = r" ?[$€£]?\.?\d"
_SIGN_OF = re.compile(  # `- 5` and `-$5`, `below zero - 5`, `-x` and `- x`; but `- Paris` is a bullet
    rf"{_FREE}{_AMOUNT}|[^\W\d_]{{2}} \n{_AMOUNT}|{_FREE}(?:[^\W\d_(\\]| [^\W\d_](?!\w))"
)
_IN_WORDS = {  # the rule for others is the last one
    "-": re.compile(
        rf"[\d)\]}}] ?\n{_AMOUNT}|\w\n(?! ?[\w(\[{{$€£\"'\\])|(?:^|\W)\w\w?\n "
    ),  # `10 - 5`, `O-` and `AB- blood`
    "+": re.compile(rf"{_INFIX}|\w\n"),  # `C++`, but `+5` is 5
    "%": re.compile(r"\d ?\n|\w\n|\n\w"),
    "#": re.compile(r"\w\n|\n\w"),
    "*": re.compile(rf"{_INFIX}|(?:^|\W)[^\W\d_]\n"),
    "**": re.compile(_INFIX),
    "/": re.compile(rf"\w\n\w|(?:^|\W)\w ?\n ?\w|\w ?\n ?\w(?!\w)|[)\]}}] ?\n|{_FREE}\w"),  # `a / b`, not `one / two`
    "!": re.compile(rf"(?:^|\W)\w\n|[\d)\]}}]\n|{_FREE}\w"),  # `n!`, but `Paris!` is Paris
    "~": re.compile(r"\n ?[\w.$€£-]"),
    "^": re.compile(_INFIX),
    "": re.compile(r"\n ?[\w(\[{\\.$€£~+-]|\w\n"),
}
# Operators that count are private characters meanwhile: no punctuation, and no letters either.
_MARKS = {ord(operator): 0xE000 + ord(operator) for operator in _OPERATORS}
_SIGN = "\ue100"  # of a number, which is apart from what is in front of it: `5, -3` is not `5-3`
_SPACED = re.compile(rf" ?([{''.join(map(chr, _MARKS.values()))}]) ?|({_SIGN}) ")


def normalise(text: str, *, case_sensitive: bool = False, operators: bool = False) -> str:
    """Text without case, punctuation, English articles and repeated white space.

    Signs and points of numbers stay, as does an article at the end (`A`); a text of punctuation alone is itself. With
    `operators`, so does what tells `C++` from `C`, `<5` from `5` and `x+y` from `x-y`, as private characters.
    """
    text = clean(text)
    text = text if case_sensitive else text.casefold()
    words = _with_marks(text) if operators else text
    words = " ".join(_PUNCTUATION.sub(lambda found: found["kept"] or ("" if found["deleted"] else " "), words).split())
    words = " ".join(_ARTICLES.sub(" ", words).split())
    return _SPACED.sub(r"\1\2", words) or text


def same_text(answer: str, references: list[str], *, case_sensitive: bool = False) -> bool:
    """Whether the whole answer is one of the references; an answer that contains one among others is not."""
    wanted = {normalise(reference, case_sensitive=case_sensitive, operators=True) for reference in references}
    return normalise(answer, case_sensitive=case_sensitive, operators=True) in wanted


def _with_marks(text: str) -> str:
    """Text whose operators are marks, and spaces where bullets, emphasis, hyphens and dashes only look like them."""
    text = " ".join(_LINE_START.sub(" ", _EMPHASIS.sub(r"\2", text)).split())
    return _RUN.sub(_marked, text)


def _marked(found: re.Match[str]) -> str:
    """The marks of a run of operators, or a space for what is none."""
    text, (start, end), run = found.string, found.span(), found.group()
    run = run if set(run) == {"!"} else run.rstrip("!")
    context = f"{text[max(start - _CONTEXT, 0) : start]}\n{text[end : end + _CONTEXT]}"
    if run.endswith("-") and (_SIGN_OF.search(context) or (run.strip("-") and not context.endswith("\n"))):
        return run[:-1].translate(_MARKS) + _SIGN
    kind = run[0] if len(set(run)) == 1 else ""
    rule = _IN_WORDS.get(run, _IN_WORDS.get(kind, _IN_WORDS[""]))
    return run.translate(_MARKS) if rule.search(context) else " "
