"""The 25 instructions of IFEval (Zhou et al. 2023, 2311.07911): checks of prepared texts.

They agree with the published checkers but where those hold for what does not follow the instruction, or hang on
chance: docs/instructions.md lists the differences.
"""

import json
import re
from typing import Any

from rewards.verifiers.instructions import (
    Instruction,
    compare,
    read_count,
    read_letter,
    read_phrase,
    read_positive,
    read_relation,
    read_text,
    read_texts,
)
from rewards.verifiers.instructions_language import is_in_language, read_language
from rewards.verifiers.keywords import count_keyword, folded, has_keyword, has_keyword_in_disguise, is_stuffed
from rewards.verifiers.segmentation import (
    EDGES,
    count_words,
    has_word,
    paragraphs,
    sentences,
    tokens,
    words,
)

MAX_RUN = 3  # of one letter in words; what goes on beyond is a filler
MAX_DEPTH = 100  # of JSON
OPTIONS = "My answer is yes.", "My answer is no.", "My answer is maybe."

_LONG_RUN = re.compile(r"(\w)\1{3,}")
_DIVIDER = re.compile(r"(?<!\S)\*\*\*(?!\S)")
_SIX_ASTERISKS = re.compile(r"(?<!\*)\*{6}(?!\*)")
_PLACEHOLDER = re.compile(r"\[([^\[\]\n]*)\](?!\()")
_BULLET = re.compile(r"[ \t]*[*+-][ \t]+(?=\S)(?![*-][ \t]*[*-])")
_HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,3})(?![\s*])([^*\n]*)(?<!\s)(\*{1,3})(?!\*)")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(?P<inside>.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_COMMAS = re.compile("[,،、﹐﹑︐︑､⸲⸴՝߸፣᠂᠈꓾꘍꛵]")
_MARKUP = " \t*_#>\"'“("


def has_keywords(text: str, keywords: list[str]) -> bool:
    return all(has_keyword(keyword, text) for keyword in keywords) and not is_stuffed(keywords, text)


def has_keyword_frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    if relation == "at least" and is_stuffed([keyword], text):
        return False
    return compare(count_keyword(keyword, text), relation, frequency)


def lacks_words(text: str, forbidden_words: list[str]) -> bool:
    return not any(has_keyword_in_disguise(word, text) for word in forbidden_words)


def has_letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Runs of a letter beyond MAX_RUN do not help to reach a number."""
    if let_relation == "at least":
        text = _LONG_RUN.sub(lambda found: found[1] * MAX_RUN, text)
    return compare(text.casefold().count(letter), let_relation, let_frequency)


def has_number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    return compare(len(sentences(text)), relation, num_sentences)


def has_number_words(text: str, num_words: int, relation: str) -> bool:
    return compare(count_words(text), relation, num_words)


def has_number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """`***` between white space divides; none of the parts is blank."""
    parts = _DIVIDER.split(text)
    inner = parts[0 if parts[0].strip() else 1 : len(parts) if parts[-1].strip() else -1]
    return len(inner) == num_paragraphs and all(map(has_word, inner))


def has_nth_paragraph_first_word(text: str, first_word: str, num_paragraphs: int, nth_paragraph: int) -> bool:
    parts = paragraphs(text)
    if len(parts) != num_paragraphs:
        return False
    start = folded(parts[nth_paragraph - 1].lstrip(EDGES + " \t\n"))
    wanted = folded(first_word).strip(EDGES)
    return start.startswith(wanted) and not start[len(wanted) : len(wanted) + 1].isalnum()


def has_placeholders(text: str, num_placeholders: int) -> bool:
    """`[address]` is one; check boxes, numbered citations and Markdown links are none."""
    found = [inside for inside in _PLACEHOLDER.findall(text) if len(inside) > 1 and any(map(str.isalpha, inside))]
    return len(found) >= num_placeholders


def has_postscript(text: str, postscript_marker: str) -> bool:
    """A line after the first words begins with the marker, and something follows it."""
    letters = [re.escape(character) for character in postscript_marker.lower() if character.isalnum()]
    dotted = postscript_marker.rstrip().endswith(".")
    marker = r"\.\s?".join(letters) + (r"\." if dotted else r"(?:\.|\b)")
    lowered = text.lower()
    body = next((position for position, character in enumerate(lowered) if character.isalnum()), len(text))
    for found in re.finditer(rf"(?m)^[ \t*_>\"]{{0,9}}{marker}", lowered):
        if found.start() > body:
            return has_word(lowered[found.end() :])
    return False


def has_bullets(text: str, num_bullets: int) -> bool:
    """Markdown bullets with something after them; rules (`---`) and italics are none."""
    return sum(bool(_BULLET.match(line)) and has_word(line) for line in text.split("\n")) == num_bullets


def has_constrained_response(text: str) -> bool:
    """One of the options, and not another one too."""
    return sum(option in text for option in OPTIONS) == 1


def has_highlights(text: str, num_highlights: int) -> bool:
    found = [inside for left, inside, right in _HIGHLIGHT.findall(text) if left == right and has_word(inside)]
    return len(found) >= num_highlights


def has_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """Lines that begin with the marker and a number, each number once, each with a word before the next one."""
    start = re.compile(rf"^[{re.escape(_MARKUP)}]{{0,9}}{re.escape(section_spliter)}[ \t]?(\d{{1,4}})\b", re.MULTILINE)
    found = list(start.finditer(text))
    bounds = [*(match.start() for match in found), len(text)]
    filled = {match[1] for match, end in zip(found, bounds[1:], strict=True) if has_word(text[match.end() : end])}
    return len(filled) >= num_sections


def is_json(text: str) -> bool:
    """A JSON object or array with something in it, perhaps in a Markdown fence, and nothing else."""
    fenced = _FENCE.fullmatch(text.strip())
    source = (fenced["inside"] if fenced else text).strip()
    if source[:1] not in ("{", "[") or _depth(source) > MAX_DEPTH:
        return False
    try:
        return bool(json.loads(source, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _depth(source: str) -> int:
    """An upper bound of the nesting: brackets in texts count, too."""
    depth = deepest = 0
    for character in source:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def has_title(text: str) -> bool:
    """A line with words between `<<` and `>>`."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and has_word(line[start + 2 : end]):
            return True
    return False


def has_two_responses(text: str) -> bool:
    """Two that differ in their words, between them six asterisks."""
    parts = [part for part in _SIX_ASTERISKS.split(text) if part.strip()]
    first_words = [[word.casefold() for word in words(part)] for part in parts]
    return len(parts) == 2 and all(first_words) and first_words[0] != first_words[1]


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The prompt comes first, and an answer after it."""
    prompt, answer = folded(prompt_to_repeat).strip(), folded(text).lstrip()
    return answer.startswith(prompt) and has_word(answer[len(prompt) :])


def ends_with(text: str, end_phrase: str) -> bool:
    """The phrase comes last but for quotation marks and emphasis, and is not all there is."""
    end, answer = folded(end_phrase).strip(" \"'*_”"), folded(text).rstrip(" \"'*_”")
    return answer.endswith(end) and has_word(answer[: len(answer) - len(end)])


def has_capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    found = [token for token in tokens(text) if re.split("['’]s$", token)[0].isupper()]
    return compare(len(found), capital_relation, capital_frequency)


def is_english_capital(text: str) -> bool:
    return text.isupper() and is_in_language(text, "en")


def is_english_lowercase(text: str) -> bool:
    return text.islower() and is_in_language(text, "en")


def lacks_commas(text: str) -> bool:
    """No comma of any script."""
    return not _COMMAS.search(text)


def is_quoted(text: str) -> bool:
    inside = text[1:-1]
    return text[:1] + text[-1:] in ('""', "“”") and has_word(inside)


_RELATED = {"relation": read_relation}

IFEVAL = {
    "keywords:existence": Instruction(has_keywords, {"keywords": read_texts}),
    "keywords:frequency": Instruction(
        has_keyword_frequency, {"keyword": read_text, "frequency": read_positive, **_RELATED}
    ),
    "keywords:forbidden_words": Instruction(lacks_words, {"forbidden_words": read_texts}),
    "keywords:letter_frequency": Instruction(
        has_letter_frequency, {"letter": read_letter, "let_frequency": read_positive, "let_relation": read_relation}
    ),
    "language:response_language": Instruction(is_in_language, {"language": read_language}),
    "length_constraints:number_sentences": Instruction(
        has_number_sentences, {"num_sentences": read_positive, **_RELATED}
    ),
    "length_constraints:number_paragraphs": Instruction(has_number_paragraphs, {"num_paragraphs": read_positive}),
    "length_constraints:number_words": Instruction(has_number_words, {"num_words": read_positive, **_RELATED}),
    "length_constraints:nth_paragraph_first_word": Instruction(
        has_nth_paragraph_first_word,
        {"first_word": read_phrase, "num_paragraphs": read_positive, "nth_paragraph": read_positive},
        sane=lambda num_paragraphs, nth_paragraph, **_: nth_paragraph <= num_paragraphs,
    ),
    "detectable_content:number_placeholders": Instruction(has_placeholders, {"num_placeholders": read_positive}),
    "detectable_content:postscript": Instruction(has_postscript, {"postscript_marker": read_phrase}),
    "detectable_format:number_bullet_lists": Instruction(has_bullets, {"num_bullets": read_count}),
    "detectable_format:constrained_response": Instruction(has_constrained_response),
    "detectable_format:number_highlighted_sections": Instruction(has_highlights, {"num_highlights": read_positive}),
    "detectable_format:multiple_sections": Instruction(
        has_sections, {"section_spliter": read_phrase, "num_sections": read_positive}
    ),
    "detectable_format:json_format": Instruction(is_json),
    "detectable_format:title": Instruction(has_title),
    "combination:two_responses": Instruction(has_two_responses),
    "combination:repeat_prompt": Instruction(repeats_prompt, {"prompt_to_repeat": read_phrase}),
    "startend:end_checker": Instruction(ends_with, {"end_phrase": read_phrase}),
    "startend:quotation": Instruction(is_quoted),
    "change_case:capital_word_frequency": Instruction(
        has_capital_words, {"capital_frequency": read_positive, "capital_relation": read_relation}
    ),
    "change_case:english_capital": Instruction(is_english_capital),
    "change_case:english_lowercase": Instruction(is_english_lowercase),
    "punctuation:no_comma": Instruction(lacks_commas),
}
