"""How much of a text is written in a language: scripts by Unicode, languages of one script by lingua."""

import functools
import itertools
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from rewards.response import clean
from rewards.verifiers.prose import prose, sentences

MAX_NAME_WORDS = 3  # a run of words in another script that is taken for a name or a term
MAX_QUOTE_WORDS = 8  # of a quotation in another language
MIN_LETTERS = 30  # of what lingua judges: shorter sentences are judged with their neighbours
MAX_SEGMENTS = 400  # evenly spread over a longer text
MIN_CONFIDENCE = 0.2  # of the wanted language among the candidates, where another one is likelier

SCRIPTS = {
    **dict.fromkeys(("be", "bg", "kk", "mk", "mn", "ru", "sr", "uk"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr"), ("DEVANAGARI",)),
    **{"el": ("GREEK",), "he": ("HEBREW",), "hy": ("ARMENIAN",), "ka": ("GEORGIAN",), "ko": ("HANGUL",)},
    **{"bn": ("BENGALI",), "gu": ("GUJARATI",), "pa": ("GURMUKHI",), "ta": ("TAMIL",), "te": ("TELUGU",)},
    **{"th": ("THAI",), "zh": ("CJK",), "ja": ("CJK", "HIRAGANA", "KATAKANA")},
}
UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}  # two characters count as a word
ALPHABETS = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN"}  # letters of two of them look alike: no word mixes them
CANDIDATES = frozenset(
    "cs da de en es fi fr hu id it nl pl pt ro sv sw tl tr vi be bg kk mk mn ru sr uk ar fa ur hi mr".split()
)
# Which of two close languages a sentence is written in is not asked unless both are configured.
CLOSE = (
    {"da", "nb", "nn"}, {"cs", "sk"}, {"bs", "hr", "sr", "sl"}, {"id", "ms"}, {"bg", "mk"}, {"be", "uk"},
    {"es", "ca"}, {"nl", "af"}, {"xh", "zu"}, {"st", "tn"},
)  # fmt: skip

_LETTERS = regex.compile(r"[\p{L}\p{M}]++(?:['’-][\p{L}\p{M}]++)*+")
_QUOTED = regex.compile(
    '“([^“”]{1,200}+)”|„([^„“”]{1,200}+)[“”]|«([^«»]{1,200}+)»|「([^「」]{1,200}+)」|"([^"]{1,200}+)"'
)


@dataclass(frozen=True, slots=True)
class Share:
    """The share of words in a wanted language, of those in its script, and their number; the first foreign text."""

    language: float
    script: float
    words: float
    foreign: str


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring letters of one script; `words` is their weight, 0 for a single letter."""

    script: str
    text: str
    words: float


def known_languages() -> frozenset[str]:
    """The codes (ISO 639-1) of the languages that can be told apart."""
    from lingua import Language

    return frozenset(language.iso_code_639_1.name.lower() for language in Language.all())


def share_of(text: str, wanted: frozenset[str], candidates: frozenset[str], names: float) -> Share:
    """How much of a text's prose is in one of the wanted languages; 0 where it has no word.

    `names` is the share of a sentence's words that may be names or terms in another script, or quotations.
    """
    scripts = frozenset(script for code in wanted for script in SCRIPTS.get(code, ("LATIN",)))
    rivals = _rivals(wanted, candidates)
    total = in_script = in_language = 0.0
    foreign = ""
    for segment in _spread(list(_segments(prose(clean(text)), scripts))):
        runs = _without_names(list(_runs(segment)), scripts, names)
        native = [run for run in runs if run.script in scripts]
        words = sum(run.words for run in native)
        total += sum(run.words for run in runs)
        in_script += words
        speaks = words > 0 and _is_wanted(segment, native, wanted, rivals)
        in_language += words if speaks else 0
        if not foreign and (not speaks or len(native) < len(runs)):
            foreign = segment[:80]
    if not total:
        return Share(0.0, 0.0, 0.0, "")
    return Share(in_language / total, in_script / total, total, foreign)


@functools.lru_cache(maxsize=65_536)
def script_of(character: str) -> str:
    """The first word of a letter's Unicode name: LATIN, CYRILLIC, CJK, HANGUL, ..."""
    return unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0]


def _rivals(wanted: frozenset[str], candidates: frozenset[str]) -> frozenset[str]:
    """The languages that a wanted one could be confused with, by script; without close relatives that nobody named."""
    named = wanted | (candidates - CANDIDATES)
    close = {code for group in CLOSE if group & named for code in group} - named
    return (candidates - close) | wanted


def _segments(text: str, scripts: frozenset[str]) -> Iterator[str]:
    """Sentences with letters; short ones in a wanted script are joined with what follows them."""
    pending = ""
    for sentence in sentences(text):
        if not _LETTERS.search(sentence):
            continue
        pending = f"{pending} {sentence}".strip()
        if sum(map(str.isalpha, pending)) >= MIN_LETTERS or not scripts & {"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI"}:
            yield pending
            pending = ""
    if pending:
        yield pending


def _spread(segments: list[str]) -> list[str]:
    if len(segments) <= MAX_SEGMENTS:
        return segments
    return [segments[i * (len(segments) - 1) // (MAX_SEGMENTS - 1)] for i in range(MAX_SEGMENTS)]


def _runs(segment: str) -> Iterator[Run]:
    for found in _LETTERS.finditer(segment):
        word = found.group()
        groups = [(script, "".join(letters)) for script, letters in itertools.groupby(_marked(word), key=_script)]
        if len(ALPHABETS & {script for script, _ in groups}) > 1:
            groups = [("MIXED", word)]
        for script, letters in groups:
            unspaced = script in UNSPACED
            yield Run(script, letters, len(letters) / 2 if unspaced else float(len(letters) > 1))


def _marked(word: str) -> list[str]:
    """Letters with the marks that follow them: a mark is of its letter's script."""
    letters: list[str] = []
    for character in word:
        if letters and not character.isalpha():
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _script(letters: str) -> str:
    return script_of(letters[0])


def _without_names(runs: list[Run], scripts: frozenset[str], names: float) -> list[Run]:
    """Without short runs in other scripts, as long as they are few beside what is in the wanted ones."""
    groups = [(native, list(group)) for native, group in itertools.groupby(runs, key=lambda run: run.script in scripts)]
    native_words = sum(run.words for native, group in groups if native for run in group)
    short = [
        id(group)
        for native, group in groups
        if not native
        and sum(run.words for run in group) <= MAX_NAME_WORDS
        and all(run.script != "MIXED" for run in group)
    ]
    foreign = sum(run.words for _, group in groups if id(group) in short for run in group)
    if not native_words or foreign > names * (native_words + foreign):
        return runs
    return [run for _, group in groups if id(group) not in short for run in group]


def _is_wanted(segment: str, native: list[Run], wanted: frozenset[str], rivals: frozenset[str]) -> bool:
    """Whether what a segment holds in the wanted scripts is in a wanted language."""
    used = {run.script for run in native}
    if used & {"CJK", "HIRAGANA", "KATAKANA"}:
        return _is_east_asian(native, wanted)
    rivals = frozenset(code for code in rivals if used & set(SCRIPTS.get(code, ("LATIN",))))
    if rivals <= wanted:
        return True
    confidences = _confidences(_without_quotes(segment, native), rivals)
    best = max(confidences.values(), default=0.0)
    own = max((confidences.get(code, 0.0) for code in wanted), default=0.0)
    return best == 0 or own == best or own >= MIN_CONFIDENCE


def _is_east_asian(native: list[Run], wanted: frozenset[str]) -> bool:
    """Japanese has kana beside its Chinese characters, Chinese none."""
    kana = sum(len(run.text) for run in native if run.script in ("HIRAGANA", "KATAKANA"))
    han = sum(len(run.text) for run in native if run.script == "CJK")
    if "zh" in wanted and kana == 0:
        return True
    return "ja" in wanted and (kana > 0 or han < 10)


def _without_quotes(segment: str, native: list[Run]) -> str:
    """The words in the wanted scripts; short quotations are left out where enough remains."""
    rest = _QUOTED.sub(lambda found: " " if found.group().count(" ") < MAX_QUOTE_WORDS else found.group(), segment)
    kept = list(_runs(rest))
    scripts = {run.script for run in native}
    words = [run.text for run in kept if run.script in scripts]
    return " ".join(words if len(words) * 2 >= len(native) else [run.text for run in native])


@functools.lru_cache(maxsize=16)
def _detector(codes: frozenset[str]):  # type: ignore[no-untyped-def]
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    languages = [getattr(IsoCode639_1, code.upper()) for code in sorted(codes)]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*languages).with_low_accuracy_mode().build()


def _confidences(text: str, codes: frozenset[str]) -> dict[str, float]:
    values = _detector(codes).compute_language_confidence_values(text)
    return {value.language.iso_code_639_1.name.lower(): value.value for value in values}
