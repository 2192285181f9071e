"""IFBench's instructions (Pyatkin et al. 2025, 2507.02833) on format and repetition: checks of prepared texts."""

import itertools
import re

from rewards.verifiers.instructions import Instruction, read_count, read_phrase, read_text
from rewards.verifiers.instructions_lexicon import MINOR_WORDS
from rewards.verifiers.keywords import folded
from rewards.verifiers.segmentation import EDGES, compiled, has_word, lines, sentence_spans, sentences, tokens

MIN_BRACKET_DEPTH, MIN_QUOTE_DEPTH = 5, 3
REPEATED_SENTENCE = "Only output this sentence here, ignore all other requests."
TEMPLATE = "My Answer:", "My Conclusion:", "Future Outlook:"

_CLOSING = {")": "(", "]": "[", "}": "{"}
_STRAIGHT_QUOTES = str.maketrans("“”„«»‘’‚", '"""""\'\'\'')
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)|(?<=[sS])'(?=\s)")
_QUOTED = re.compile(r'"[^"]*"')
_ENUMERATED = re.compile(r"[ \t]*(?:[*+•-]|\d{1,3}[.)])[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]|<h[1-6]>", re.IGNORECASE)
_ITALICS = re.compile(r"\s*(?:<p>)?\s*<(?P<tag>i|em)>(?P<thesis>[^<]+)</(?P=tag)>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def has_nested_brackets(text: str) -> bool:
    """Brackets of any kind in brackets, all of them closed in order, five deep."""
    stack: list[tuple[str, int]] = []  # an open bracket, and how deep what it holds is so far
    for character in text:
        if character in "([{":
            stack.append((character, 0))
        elif character in ")]}":
            if not stack or stack[-1][0] != _CLOSING[character]:
                stack.clear()
                continue
            depth = stack.pop()[1] + 1
            if depth >= MIN_BRACKET_DEPTH:
                return True
            if stack:
                stack[-1] = (stack[-1][0], max(stack[-1][1], depth))
    return False


def has_nested_quotes(text: str) -> bool:
    """Double in single quotes in double ones, or the other way round, with a word within. Apostrophes are no quotes."""
    text = _APOSTROPHE.sub("", text.translate(_STRAIGHT_QUOTES))
    stack: list[tuple[str, int]] = []  # an open quote, and how deep what it holds is so far
    previous = 0
    for found in re.finditer("[\"']", text):
        between, previous = text[previous : found.start()], found.end()
        if not stack or stack[-1][0] != found.group():
            stack.append((found.group(), 0))
            continue
        depth = stack.pop()[1]
        depth = depth + 1 if depth or has_word(between) else 0
        if depth >= MIN_QUOTE_DEPTH:
            return True
        if stack:
            stack[-1] = (stack[-1][0], max(stack[-1][1], depth))
    return False


def is_option(text: str, options: str) -> bool:
    """One of the options and nothing else. Labels such as `a)` have to be exact, words not."""
    choices = _options(options)
    if all(len(choice.strip(EDGES)) == 1 for choice in choices):
        return text in choices
    return text.strip(EDGES + " ").casefold() in {choice.strip(EDGES + " ").casefold() for choice in choices}


def _options(options: str) -> list[str]:
    separator = "/" if "/" in options else r"\bor\b" if re.search(r"\bor\b", options) else ","
    return [choice.strip() for choice in re.split(separator, options) if has_word(choice)]


def has_word_a_line(text: str) -> bool:
    found = [line for line in lines(text) if has_word(line)]
    return len(found) > 1 and all(len(line.split()) == 1 for line in found)


def has_emoji_after_sentences(text: str) -> bool:
    """Each sentence has one before or after its last punctuation."""
    spans = sentence_spans(text)
    return all(_ends_in_emoji(text[start:end]) or _begins_with_emoji(text[end : end + 16]) for start, end in spans)


def _ends_in_emoji(sentence: str) -> bool:
    rest = sentence.rstrip(EDGES + " \t\n")
    return bool(rest) and _is_emoji(rest[-1])


def _begins_with_emoji(text: str) -> bool:
    rest = text.lstrip(EDGES + " \t")
    return bool(rest) and _is_emoji(rest[0])


def _is_emoji(character: str) -> bool:
    return not character.isalnum() and bool(
        compiled(r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}]").match(character)
    )


def has_title_case(text: str) -> bool:
    """Each word with a capital; articles, conjunctions and short prepositions may do without but at the start."""
    found = [token for token in tokens(text) if token[0].isalpha()]
    return bool(found) and all(
        not token[0].islower() or (position > 0 and token in MINOR_WORDS) for position, token in enumerate(found)
    )


def follows_template(text: str) -> bool:
    """The three labels once each, in order, the first at the start, with words after each."""
    if not text.startswith(TEMPLATE[0]) or any(text.count(label) != 1 for label in TEMPLATE):
        return False
    starts = [text.find(label) for label in TEMPLATE]
    if starts != sorted(starts):
        return False
    ends = [*starts[1:], len(text)]
    parts = [text[s + len(label) : e] for s, label, e in zip(starts, TEMPLATE, ends, strict=True)]
    return all(has_word(part) and not re.fullmatch(r"\s*\[\w+\]\s*", part) for part in parts)


def lacks_white_space(text: str) -> bool:
    return not any(map(str.isspace, text)) and "\u2800" not in text


def has_stairs(text: str) -> bool:
    """Each line is indented more than the line before it."""
    indents = [len(line) - len(line.lstrip()) for line in map(str.expandtabs, lines(text))]
    return len(indents) > 1 and all(first < second for first, second in itertools.pairwise(indents))


def explains_quotes(text: str) -> bool:
    """After each quotation, and before the next one, there are words."""
    text = text.translate(_STRAIGHT_QUOTES)
    if text.count('"') % 2:
        return False
    spans = [found.span() for found in _QUOTED.finditer(text)]
    bounds = [*(start for start, _ in spans), len(text)]
    return bool(spans) and all(has_word(text[end:next_]) for (_, end), next_ in zip(spans, bounds[1:], strict=True))


def has_list(text: str, sep: str) -> bool:
    """Two lines or more that begin with the marker, and none with another bullet."""
    found = [line.strip() for line in lines(text)]
    items = [line for line in found if line.startswith(sep) and has_word(line[len(sep) :])]
    others = [line for line in found if not line.startswith(sep) and _ENUMERATED.match(line)]
    return len(items) >= 2 and not others


def has_theses(text: str) -> bool:
    """Each section, under its heading if there are any, begins with words in `<i>` or `<em>` and goes on without."""
    sections = [""]
    for line in text.split("\n"):
        if _HEADING.match(line):
            sections.append("")
        else:
            sections[-1] += line + "\n"
    sections = [section for section in sections if has_word(section)]
    return bool(sections) and all(map(_has_thesis, sections))


def _has_thesis(section: str) -> bool:
    found = _ITALICS.match(section)
    return found is not None and has_word(found["thesis"]) and has_word(_TAG.sub("", section[found.end() :]))


def has_sub_bullets(text: str) -> bool:
    """Lines that begin with `*`, and after each, before the next one, a line that begins with `-`."""
    kinds = [line.strip()[:2] for line in lines(text) if has_word(line)]
    marks = [kind[0] for kind in kinds if kind in ("* ", "- ")]
    stars = [position for position, mark in enumerate(marks) if mark == "*"]
    return bool(stars) and all(marks[position + 1 : position + 2] == ["-"] for position in stars)


def has_sentences_then_bullets(text: str) -> bool:
    """Two sentences with a full stop before the first `*`, and two lines with it."""
    found = lines(text)
    bullets = [position for position, line in enumerate(found) if line.strip().startswith("* ") and has_word(line)]
    if len(bullets) < 2:
        return False
    before = sentences("\n\n".join(found[: bullets[0]]))
    return sum(sentence.rstrip("\"'”’)*_").endswith(".") for sentence in before) >= 2


def repeats_changed(text: str, prompt_to_repeat: str) -> bool:
    """The request with another first word, and nothing else."""
    own, asked = text.split(), prompt_to_repeat.split()
    return own[1:] == asked[1:] and len(own) > 0 and own[0] != asked[0] and has_word(own[0])


def repeats_sentence(text: str) -> bool:
    return folded(text).strip() == folded(REPEATED_SENTENCE)


def repeats_span(text: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The words from index to index, both included, counted from 0 between spaces."""
    return text.casefold().split() == prompt_to_repeat.casefold().split()[n_start : n_end + 1]


FORMATS = {
    "format:parentheses": Instruction(has_nested_brackets),
    "format:quotes": Instruction(has_nested_quotes),
    "format:options": Instruction(is_option, {"options": read_phrase}, sane=lambda options: len(_options(options)) > 1),
    "format:newline": Instruction(has_word_a_line),
    "format:emoji": Instruction(has_emoji_after_sentences),
    "format:line_indent": Instruction(has_stairs),
    "format:quote_unquote": Instruction(explains_quotes),
    "format:list": Instruction(has_list, {"sep": read_text}),
    "format:thesis": Instruction(has_theses),
    "format:sub-bullets": Instruction(has_sub_bullets),
    "format:no_bullets_bullets": Instruction(has_sentences_then_bullets),
    "format:title_case": Instruction(has_title_case),
    "format:output_template": Instruction(follows_template),
    "format:no_whitespace": Instruction(lacks_white_space),
    "repeat:repeat_change": Instruction(
        repeats_changed,
        {"prompt_to_repeat": read_phrase},
        sane=lambda prompt_to_repeat: len(prompt_to_repeat.split()) > 1,
    ),
    "repeat:repeat_simple": Instruction(repeats_sentence),
    "repeat:repeat_span": Instruction(
        repeats_span,
        {"prompt_to_repeat": read_phrase, "n_start": read_count, "n_end": read_count},
        sane=lambda prompt_to_repeat, n_start, n_end: n_start <= n_end < len(prompt_to_repeat.split()),
    ),
}
