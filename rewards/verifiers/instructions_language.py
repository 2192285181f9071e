"""Whether a whole text is in one language: by its script where that decides, else by lingua among a few candidates."""

import functools
import re
from typing import Any

from rewards.verifiers.segmentation import compiled, has_word, paragraphs, words

SCRIPTS = {
    **dict.fromkeys(
        ["en", "es", "pt", "fr", "de", "it", "pl", "vi", "sw", "fi", "nl", "sv", "da", "tr", "id", "ro", "cs"], "Latin"
    ),
    **dict.fromkeys(["ru", "uk", "bg", "be", "sr"], "Cyrillic"),
    **dict.fromkeys(["ar", "fa", "ur"], "Arabic"),
    **dict.fromkeys(["hi", "mr", "ne"], "Devanagari"),
    **{"ja": "Japanese", "zh": "Han", "ko": "Hangul", "th": "Thai", "he": "Hebrew", "el": "Greek", "bn": "Bengali"},
    **{"ta": "Tamil", "te": "Telugu", "kn": "Kannada", "ml": "Malayalam", "gu": "Gujarati", "pa": "Gurmukhi"},
}
MIN_SCRIPT_SHARE = 0.8  # of the letters: names and terms of other scripts are the rest
MIN_LETTERS = 60  # from which on the likeliest candidate is the language
# Below that, the language only has to be possible: to what confidence, from how many letters on.
MIN_CONFIDENCES = (20, 0.1), (0, 0.02)
PIECE_CHARS = 2_000

_NOT_PROSE = re.compile(r"```[^`]*```|https?://\S+")
_CANDIDATES = {  # of lingua; Nepali is none, and is told apart by its commonest words
    "Latin": tuple(
        ["EN", "ES", "PT", "FR", "DE", "IT", "PL", "VI", "SW", "FI", "NL", "SV", "DA", "TR", "ID", "RO", "CS"]
    ),
    "Cyrillic": ("RU", "UK", "BG", "BE", "SR"),
    "Arabic": ("AR", "FA", "UR"),
    "Devanagari": ("HI", "MR"),
}
_NEPALI = frozenset(
    [
        "छ",
        "छन्",
        "हो",
        "थियो",
        "थिए",
        "र",
        "मा",
        "ले",
        "लाई",
        "पनि",
        "को",
        "का",
        "गर्न",
        "गर्छ",
        "गरेको",
        "भएको",
        "हुन्छ",
        "यो",
        "त्यो",
        "तर",
        "तथा",
        "म",
        "हामी",
        "नेपाल",
        "हुन्",
        "गर्ने",
    ]
)
_HINDI_OR_MARATHI = frozenset(
    [
        "है",
        "हैं",
        "था",
        "थे",
        "थी",
        "और",
        "में",
        "से",
        "का",
        "की",
        "के",
        "को",
        "यह",
        "वह",
        "पर",
        "भी",
        "नहीं",
        "एक",
        "कर",
        "हो",
        "आहे",
        "आहेत",
        "होते",
        "आणि",
        "ही",
        "हा",
        "ते",
        "या",
        "व",
        "तो",
        "ती",
        "मी",
        "आम्ही",
        "नाही",
    ]
)
_ONLY_NEPALI = _NEPALI - _HINDI_OR_MARATHI
_NOT_NEPALI = _HINDI_OR_MARATHI - _NEPALI


def read_language(value: Any) -> str:
    """A code of ISO 639-1 that texts can be checked for. Raises ValueError."""
    code = value.strip().lower() if isinstance(value, str) else value
    if code not in SCRIPTS:
        raise ValueError(f"{value!r:.50} is none of {', '.join(sorted(SCRIPTS))}")
    return code


def is_in_language(text: str, language: str) -> bool:
    """Whether all of a text is in a language: as a whole, and each paragraph that is long enough to tell."""
    text = _NOT_PROSE.sub(" ", text)
    if not _is_in_script(text, SCRIPTS[language]):
        return False
    parts = [piece for part in paragraphs(text) for piece in _pieces(part)]
    long_parts = [part for part in parts if _num_letters(part) >= MIN_LETTERS]
    return all(
        _is_in_script(part, SCRIPTS[language]) and _sounds_like(part, language)
        for part in long_parts or _pieces(text)
        if has_word(part)
    )


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def _is_in_script(text: str, script: str) -> bool:
    num_letters = _num_letters(text)
    if script == "Japanese":
        num_kana = _num_letters(text, r"\p{Hiragana}\p{Katakana}\u30fc")
        num_own, plausible = num_kana + _num_letters(text, r"\p{Han}"), 10 * num_kana >= num_letters
    elif script == "Han":
        num_own = _num_letters(text, r"\p{Han}")
        plausible = 20 * _num_letters(text, r"\p{Hiragana}\p{Katakana}") <= num_own
    else:
        num_own, plausible = _num_letters(text, rf"\p{{{script}}}"), True
    return plausible and num_own > 0 and num_own >= MIN_SCRIPT_SHARE * num_letters


def _num_letters(text: str, kind: str = "") -> int:
    pattern = rf"[[\p{{L}}\p{{M}}]&&[{kind}]]" if kind else r"[\p{L}\p{M}]"
    return len(compiled(pattern).findall(text))


def _sounds_like(text: str, code: str) -> bool:
    script = SCRIPTS[code]
    if script not in _CANDIDATES:
        return True
    if script == "Devanagari":
        found = words(text)
        num_nepali, num_others = sum(w in _ONLY_NEPALI for w in found), sum(w in _NOT_NEPALI for w in found)
        if (code == "ne") != (num_nepali > num_others):
            return False
        if code == "ne":
            return True
    confidences = _confidences(text.lower(), script)
    best, num_letters = max(confidences.values()), _num_letters(text)
    if num_letters >= MIN_LETTERS:
        return confidences[code] == best
    needed = next(confidence for letters, confidence in MIN_CONFIDENCES if num_letters >= letters)
    return best < needed or confidences[code] >= needed


def _confidences(text: str, script: str) -> dict[str, float]:
    values = _detector(script).compute_language_confidence_values(text)
    return {value.language.iso_code_639_1.name.lower(): value.value for value in values}


@functools.cache
def _detector(script: str) -> Any:
    """lingua's detector, of trigrams alone: all five orders would take seconds to load, and ten times the memory."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code) for code in _CANDIDATES[script]]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode().build()
