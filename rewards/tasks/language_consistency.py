"""Task `language_consistency`: the text is in the language that was asked for."""

from typing import Any

from rewards.registry import Case, reward
from rewards.response import split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.language import CANDIDATES, known_languages, load_languages, share_of

MAX_TEXT_CHARS = 262_144
PARTS = "answer", "thinking", "both"
PARAMS = {
    "part": "answer (default): what follows the thinking; thinking: the thinking, which must have ended; both",
    "threshold": "none (default): the score is the share of words in the language; a number from 0 to 1: the score is "
    "1 where the share reaches it, else 0",
    "names": "0.3 (default): the share of a sentence's words that may be names and terms in another script, in runs "
    "of at most three words",
    "candidates": "codes (ISO 639-1) of languages that are told apart as well as the frequent ones; small or close "
    "languages are considered only where they are named here or by the reference",
}

_GERMAN = "Die Hauptstadt von Frankreich ist Paris. Sie liegt an der Seine und hat rund zwei Millionen Einwohner. "
_ENGLISH = "The capital of France is Paris. It lies on the river Seine and has about two million inhabitants. "
_CHINESE = "法国的首都是巴黎。它位于塞纳河畔，大约有两百万居民。"
_RUSSIAN = "Столица Франции — Париж. Город стоит на Сене, и в нём живёт около двух миллионов человек. "
_JAPANESE = "フランスの首都はパリです。セーヌ川のほとりにあり、人口は約二百万人です。"


@reward(
    "language_consistency",
    warm_up=load_languages,
    params=PARAMS,
    example={"question": "Was ist die Hauptstadt von Frankreich?", "response": _GERMAN, "reference": "de"},
    cases=[
        Case(name="honest", response=_GERMAN, score=1),
        Case(name="honest, Chinese", response=_CHINESE, reference="zh", score=1),
        Case(name="honest, Russian", response=_RUSSIAN, reference="ru", score=1),
        Case(name="honest, Japanese", response=_JAPANESE, reference="ja", score=1),
        Case(name="one of several languages", response=_ENGLISH, reference=["de", "en"], score=1),
        Case(name="another language", response=_ENGLISH, score=0),
        Case(name="another script", response=_RUSSIAN, score=0),
        Case(name="Japanese is no Chinese", response=_JAPANESE, reference="zh", score=0),
        Case(name="Chinese is no Japanese", response=_CHINESE, reference="ja", score=0),
        Case(name="empty", response="", score=0),
        Case(name="nothing after removal", response="$$x^2 = 4$$ `x = 2` https://example.com", score=0),
        Case(name="the thinking is not judged", response=f"<think>{_ENGLISH}</think>{_GERMAN}", score=1),
        Case(name="the thinking alone", response=f"<think>{_GERMAN}</think>42", params={"part": "thinking"}, score=1),
        Case(name="both", response=f"<think>{_ENGLISH * 9}</think>{_GERMAN}",
             params={"part": "both", "threshold": 0.9}, score=0),
        Case(name="thinking that never ends", response=f"<think>{_GERMAN}", score=0),
        Case(name="mixed tail", response=_GERMAN + _ENGLISH * 2, params={"threshold": 0.9}, score=0),
        Case(name="mixed tail without full stops",
             response=_GERMAN + _ENGLISH.replace(".", "") * 3, params={"threshold": 0.9}, score=0),
        Case(name="tail in another script", response=_GERMAN + _CHINESE, params={"threshold": 0.9}, score=0),
        Case(name="hidden in a fence", response=f"{_GERMAN}\n```\n{_ENGLISH * 3}\n```",
             params={"threshold": 0.9}, score=0),
        Case(name="code is not judged",
             response=f"{_GERMAN}\n```python\nfor name in names:\n    print(name)  # print each name\n```", score=1),
        Case(name="maths and addresses", response=f"{_GERMAN} $a^2+b^2$ https://example.com/the/whole/page", score=1),
        Case(name="transliteration", reference="ru", score=0,
             response="Stolitsa Frantsii Parizh. Gorod stoit na Sene, i v nyom zhivyot okolo dvukh millionov lyudey."),
        Case(name="look-alike letters", reference="ru", params={"threshold": 0.5}, score=0,
             response="Cтoлицa Фpaнции Пapиж. Гopoд cтoит нa Ceнe, жизнь дopoгa."),
        Case(name="terms in Latin letters", reference="zh", score=1,
             response="我们使用 Python 和 PyTorch 训练模型，然后在 OpenAI 的测试集上评估它的性能和速度。"),
        Case(name="a quoted foreign name", score=1,
             response="Das Buch „The Lord of the Rings“ wurde von einem englischen Professor über Jahre verfasst."),
        Case(name="huge", response="wort " * 100_000, score=0),
    ],
)  # fmt: skip
def language_consistency(request: RewardRequest) -> RewardResult:
    """The share of words in the language of the reference, a code such as `de` or a list of them; code is left out."""
    assert isinstance(request.response, str), "checked by the scorer"
    wanted = _codes(request.reference)
    unknown = wanted - known_languages() if wanted else frozenset()
    if not wanted or unknown:
        reason = f"the reference is no code of a known language: {', '.join(sorted(unknown)) or 'no code'}"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="language")
    threshold = _share(request.params, "threshold", None)
    names = _share(request.params, "names", 0.3)
    assert names is not None, "it has a default"
    candidates = read_candidates(request.params)
    text = _text(request.response, request.params.get("part", "answer"))
    if not text:
        return RewardResult(score=0, reason="no text", verifier="language")
    if len(text) > MAX_TEXT_CHARS:
        return RewardResult(score=0, reason=f"a text of more than {MAX_TEXT_CHARS} characters", verifier="language")
    share = share_of(text, wanted, candidates, names)
    components = {"language": share.language, "script": share.script, "words": share.words}
    if not share.words:
        reason = "nothing is left without code, maths and addresses"
        return RewardResult(score=0, reason=reason, components=components, verifier="language")
    score = share.language if threshold is None else float(share.language >= threshold)
    reason = f"not in {'/'.join(sorted(wanted))}: {share.foreign!r}" if share.foreign else "all in the language"
    return RewardResult(score=score, reason=reason, components=components, verifier="language")


def read_candidates(params: dict[str, Any]) -> frozenset[str]:
    """The frequent languages and those of `params.candidates`. Raises ValueError."""
    named = params.get("candidates", [])
    codes = _codes(named)
    if named and (not codes or codes - known_languages()):
        raise ValueError(f"params.candidates: {named!r} is no list of codes of known languages, such as ['de', 'fr']")
    return CANDIDATES | codes


def _codes(value: Any) -> frozenset[str]:
    """Language codes in lower case without region (`pt-BR`); none where the value is no code or list of codes."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(code, str) for code in values):
        return frozenset()
    return frozenset(code.strip().lower().replace("_", "-").split("-")[0] for code in values if code.strip())


def _share(params: dict[str, Any], name: str, default: float | None) -> float | None:
    value = params.get(name, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise ValueError(f"params.{name}: {value!r} is no number from 0 to 1")
    return value


def _text(response: str, part: str) -> str:
    """The part to judge; no text where the thinking never ended."""
    if part not in PARTS:
        raise ValueError(f"params.part: unknown {part!r}; known are {', '.join(PARTS)}")
    parts = split_response(response)
    if parts.answer is None:
        return ""
    return {"answer": parts.answer, "thinking": parts.thinking, "both": f"{parts.thinking}\n\n{parts.answer}"}[part]
