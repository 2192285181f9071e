"""Task `translation`: chrF or BLEU against reference translations, for what is a translation at all."""

from dataclasses import dataclass
from typing import Any

from rewards.params import choice
from rewards.registry import Case, reward, stated
from rewards.response import clean, split_response
from rewards.tasks.language_consistency import read_candidates
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.language import known_languages, load_languages, share_of
from rewards.verifiers.overlap import contained, repeated, tokens
from rewards.verifiers.translation import METRICS, similarity

MAX_CHARS = 16_384
COPIED = 0.4  # the share of 3-grams of an answer that are the source's, beyond the reference's own share
REPEATED = 0.25  # the share of 4-grams of an answer that repeat, beyond that of the reference
PARAMS = {
    "language": "the code (ISO 639-1) of the target language; without it the language is not checked",
    "source": "the text to translate; by default the question, whose instruction does no harm",
    "metric": f"{', '.join(METRICS)}; chrf by default",
    "length_ratio": "[0.5, 2.0] (default): the answer's length in characters, in lengths of the nearest reference",
    "min_language": "0.7 (default): the share of words that must be in the target language",
    "candidates": "codes of languages that are told apart as well as the frequent ones",
}

_SOURCE = "The old bridge over the river was closed on Monday because of the heavy rain."
_TARGET = "Die alte Brücke über den Fluss wurde am Montag wegen des starken Regens gesperrt."
_OTHER = "Le vieux pont sur la rivière a été fermé lundi à cause des fortes pluies."


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters of a request, read."""

    language: str | None
    source: str
    metric: str
    length_ratio: tuple[float, float]
    min_language: float
    candidates: frozenset[str]


@reward(
    "translation",
    warm_up=load_languages,
    params=PARAMS,
    respond=stated,
    example={
        "question": f"Translate into German: {_SOURCE}",
        "response": _TARGET,
        "reference": [_TARGET],
        "params": {"language": "de"},
    },
    cases=[
        Case(name="honest", response=_TARGET, params={"language": "de"}, score=1),
        Case(name="one of several references", response=_TARGET, reference=["Die Brücke ist zu.", _TARGET], score=1),
        Case(name="by BLEU", response=_TARGET, params={"language": "de", "metric": "bleu"}, score=1),
        Case(name="after the thinking", response=f"<think>{_SOURCE}</think>\n{_TARGET}", score=1),
        Case(name="empty", response="", score=0),
        Case(name="the thinking alone", response=f"<think>{_TARGET}</think>", score=0),
        Case(name="thinking that never ends", response=f"<think>{_TARGET}", score=0),
        Case(name="source copied", response=_SOURCE, params={"language": "de"}, score=0),
        Case(name="source copied, no language given", response=_SOURCE, score=0),
        Case(name="source copied before the translation", response=f"{_SOURCE} {_TARGET}", params={"language": "de"},
             score=0),
        Case(name="wrong target language", response=_OTHER, params={"language": "de"}, score=0),
        Case(name="stuffed", response=" ".join([_TARGET] * 2), params={"length_ratio": [0.5, 3]}, score=0),
        Case(name="padded", response=" ".join([_TARGET] * 5), score=0),
        Case(name="one word", response="Brücke", score=0),
        Case(name="punctuation", response="." * len(_TARGET), score=0),
        Case(name="zero width between the letters", response="\u200b".join(_TARGET), score=1),
        Case(name="look-alike letters", response=_TARGET.replace("e", "е").replace("a", "а").replace("o", "о"),
             params={"language": "de"}, score=0),
        Case(name="another script", response="Старый мост через реку был закрыт в понедельник из-за дождя.",
             params={"language": "de"}, score=0),
        Case(name="huge", response="Brücke " * 20_000, score=0),
    ],
)  # fmt: skip
def translation(request: RewardRequest) -> RewardResult:
    """chrF (or BLEU) against the nearest reference, from 0 to 1; 0 for a copied source or the wrong language."""
    assert isinstance(request.response, str), "checked by the scorer"
    references = _references(request.reference)
    if references is None:
        reason = "the reference is no text or list of texts with words in them"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="translation")
    options = _read(request)
    answer = clean(split_response(request.response).answer or "")
    words = tokens(answer[:MAX_CHARS])
    if not words or len(answer) > MAX_CHARS:
        reason = f"an answer of more than {MAX_CHARS} characters" if words else "no answer"
        return RewardResult(score=0, reason=reason, verifier="translation")
    components, fault = _guards(answer, words, references, options)
    if fault:
        return RewardResult(score=0, reason=fault, components=components, extracted=answer, verifier="translation")
    score = similarity(answer, references, options.metric, options.language)
    reason = f"{options.metric} against the nearest reference"
    return RewardResult(score=score, reason=reason, components=components, extracted=answer, verifier="translation")


def _guards(
    answer: str, words: list[str], references: list[str], options: Options
) -> tuple[dict[str, float], str | None]:
    """What was measured, and why the answer is no translation, if so."""
    ratio = min((len(answer) / len(reference) for reference in references), key=lambda ratio: abs(ratio - 1))
    targets = [tokens(reference) for reference in references]
    source = tokens(options.source)
    components = {"length_ratio": ratio, "repeated": repeated(words, 4), "copied": contained(words, source, 3)}
    low, high = options.length_ratio
    if not low <= ratio <= high:
        return components, f"{ratio:.2f} times as long as the nearest reference, not {low} to {high}"
    if components["repeated"] > max(repeated(target, 4) for target in targets) + REPEATED:
        return components, "repeats itself"
    if components["copied"] > max(contained(target, source, 3) for target in targets) + COPIED:
        return components, "copies the source"
    if options.language is not None:
        share = share_of(answer, frozenset([options.language]), options.candidates, 0.3)
        components["language"] = share.language
        if share.language < options.min_language:
            return components, f"not in {options.language}: {share.foreign!r}"
    return components, None


def _references(reference: Any) -> list[str] | None:
    references = reference if isinstance(reference, list) else [reference]
    texts = [clean(text)[:MAX_CHARS] for text in references if isinstance(text, str)]
    return texts if texts and len(texts) == len(references) and all(map(tokens, texts)) else None


def _read(request: RewardRequest) -> Options:
    """Raises ValueError for parameters that cannot be used."""
    params = request.params
    language = params.get("language")
    if language is not None and language not in known_languages():
        raise ValueError(f"params.language: {language!r} is no code of a known language, such as 'de'")
    metric = choice(params, "metric", METRICS)
    ratio = params.get("length_ratio", [0.5, 2.0])
    if not isinstance(ratio, list | tuple) or len(ratio) != 2 or not all(map(_is_number, ratio)) or ratio[0] > ratio[1]:
        raise ValueError(f"params.length_ratio: {ratio!r} is no [low, high]")
    share = params.get("min_language", 0.7)
    if not _is_number(share) or share > 1:
        raise ValueError(f"params.min_language: {share!r} is no number from 0 to 1")
    return Options(language, source_of(request), metric, (ratio[0], ratio[1]), share, read_candidates(params))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def source_of(request: RewardRequest) -> str:
    """`params.source`, or the question's last message. Raises ValueError for a source that is no text."""
    source = request.params.get("source")
    if source is None:
        question = request.question
        source = question if isinstance(question, str) else (question[-1].get("content") if question else "")
    if not isinstance(source, str):
        raise ValueError(f"params.source: a text is wanted, got {type(source).__name__}")
    return source
