"""How much of a text is written in a language: scripts by Unicode, languages of one script by lingua."""

import functools
import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import regex

from rewards.response import clean
from rewards.verifiers.prose import prose, sentences

MAX_NAME_WORDS = 3  # a run of words in another script that is taken for a name or a term
MAX_QUOTE_WORDS = 8  # of a quotation in another language
MIN_LETTERS = 30  # of what lingua judges: shorter sentences are judged with their neighbours
MIN_CHARACTERS = 12  # the same, of scripts without spaces
MAX_SEGMENTS = 400  # evenly spread over a longer text
SURE = 0.9  # of the wanted language by trigrams alone
MIN_CONFIDENCE = 0.3  # of the wanted language by all models, where another one is likelier

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
    ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "id", "it", "nl", "pl", "pt", "ro", "sv", "sw", "tl", "tr", "vi",
     "be", "bg", "kk", "mk", "mn", "ru", "sr", "uk", "ar", "fa", "ur", "hi", "mr")
)  # fmt: skip
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
    for segment in _spread(_segments(prose(clean(text)), scripts)):
        everything = list(_runs(segment))
        runs = _without_names(everything, scripts, names)
        native = [run for run in runs if run.script in scripts]
        words = sum(run.words for run in native)
        total += sum(run.words for run in runs)
        in_script += words
        speaks = words > 0 and _is_wanted(segment, everything, native, wanted, rivals)
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


def _segments(text: str, scripts: frozenset[str]) -> list[str]:
    """Sentences with letters; short ones are joined with what follows, or at the end with what went before."""
    enough = MIN_CHARACTERS if scripts & UNSPACED else MIN_LETTERS
    segments: list[str] = []
    pending = ""
    for sentence in sentences(text):
        if not _LETTERS.search(sentence):
            continue
        pending = f"{pending} {sentence}".strip()
        if sum(map(str.isalpha, pending)) >= enough:
            segments.append(pending)
            pending = ""
    if pending and segments:
        segments[-1] += f" {pending}"
    elif pending:
        segments.append(pending)
    return segments


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
        not native and sum(run.words for run in group) <= MAX_NAME_WORDS and all(run.script != "MIXED" for run in group)
        for native, group in groups
    ]
    foreign = sum(run.words for (_, group), is_short in zip(groups, short, strict=True) if is_short for run in group)
    if not native_words or foreign > names * (native_words + foreign):
        return runs
    return [run for (_, group), is_short in zip(groups, short, strict=True) if not is_short for run in group]


def _is_wanted(
    segment: str, runs: list[Run], native: list[Run], wanted: frozenset[str], rivals: frozenset[str]
) -> bool:
    """Whether what a segment holds in the wanted scripts is in a wanted language."""
    words: dict[str, float] = defaultdict(float)
    for run in native:
        words[run.script] += run.words
    script = max(words, key=lambda name: words[name])
    if script in ("CJK", "HIRAGANA", "KATAKANA"):
        return _is_east_asian(runs, wanted)
    rivals = frozenset(code for code in rivals if script in SCRIPTS.get(code, ("LATIN",)))
    wanted = wanted & rivals
    if rivals <= wanted:
        return True
    text = _without_quotes(segment, native)
    likely = _confidences(text, rivals, exact=False)
    if not any(likely.values()) or max(likely[code] for code in wanted) >= SURE:
        return True
    # Trigrams alone take some English for French: where they doubt, all models of the likeliest languages are asked.
    others = sorted(rivals - wanted, key=lambda code: likely[code])[-2:]
    exact = _confidences(text, wanted.union(others), exact=True)
    own = max(exact[code] for code in wanted)
    return own >= MIN_CONFIDENCE or own == max(exact.values())


def _is_east_asian(runs: list[Run], wanted: frozenset[str]) -> bool:
    """Japanese has kana beside its Chinese characters, Chinese hardly any."""
    kana = sum(len(run.text) for run in runs if run.script in ("HIRAGANA", "KATAKANA"))
    han = sum(len(run.text) for run in runs if run.script == "CJK")
    if kana * 10 < han:
        return "zh" in wanted or (han < MIN_CHARACTERS and "ja" in wanted)
    return "ja" in wanted


def _without_quotes(segment: str, native: list[Run]) -> str:
    """The words in the wanted scripts; short quotations are left out where enough remains."""
    rest = _QUOTED.sub(lambda found: " " if found.group().count(" ") < MAX_QUOTE_WORDS else found.group(), segment)
    kept = list(_runs(rest))
    scripts = {run.script for run in native}
    words = [run.text for run in kept if run.script in scripts]
    return " ".join(words if len(words) * 2 >= len(native) else [run.text for run in native])


def load_languages() -> None:
    """Read lingua's trigrams of the frequent languages: 30 MB. The models of all n-grams, some seconds and 15 times as
    much, are read for the languages between which a text is doubtful, when there is one.
    """
    _confidences("a text of some words", CANDIDATES, exact=False)


@functools.lru_cache(maxsize=256)
def _detector(codes: frozenset[str], exact: bool) -> Any:
    """lingua's detector, of trigrams alone (some 2 MB a language) or of all n-grams (some 30 MB a language)."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_iso_codes_639_1(
        *(getattr(IsoCode639_1, code.upper()) for code in sorted(codes))
    )
    return (builder if exact else builder.with_low_accuracy_mode()).build()


def _confidences(text: str, codes: frozenset[str], *, exact: bool) -> dict[str, float]:
    values = _detector(codes, exact).compute_language_confidence_values(text)
    return {value.language.iso_code_639_1.name.lower(): value.value for value in values}


def language_of(text: str) -> str | None:
    """The likeliest language of a text's prose among the frequent ones, where trigrams are sure; None elsewhere."""
    words: dict[str, float] = defaultdict(float)
    runs = list(_runs(prose(clean(text))))
    for run in runs:
        words[run.script] += run.words
    if sum(len(run.text) for run in runs) < MIN_CHARACTERS or not any(words.values()):
        return None
    script = max(words, key=lambda name: words[name])
    if script in ("CJK", "HIRAGANA", "KATAKANA"):
        return next(code for code in ("ja", "zh") if _is_east_asian(runs, frozenset([code])))
    codes = frozenset(code for code in CANDIDATES | SCRIPTS.keys() if script in SCRIPTS.get(code, ("LATIN",)))
    if len(codes) < 2:
        return next(iter(codes), None)
    likely = _confidences(" ".join(run.text for run in runs if run.script == script), codes, exact=False)
    best = max(likely, key=lambda code: likely[code])
    return best if likely[best] >= SURE else None
