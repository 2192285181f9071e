"""Task `math`: an expression equal to the reference."""

import re

from rewards.registry import Case, reward
from rewards.response import BoundExceeded, clean, last_boxed, split_response, tail
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.math import UnreadableReference, verify_math

_PHRASE = re.compile(
    r"(?:final answer|answer|result)\s*(?:is|:|=)\s*:?\s*\**\s*(?P<answer>[^\n]{1,200}?)\s*\**\s*(?:\.\s|\.?\s*$|\n)",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"=\s*\**\s*(?P<answer>[^=\n]{1,200}?)\**\s*\.?\s*$")
_LAST_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?")

PARAMS = {
    "extract": "boxed (default): the last box after the thinking, nothing else; lenient: final-answer phrases, a "
    "closing expression or the last number too",
    "evaluated": "true (default): where the reference is a number, an answer that still holds the operation asked "
    "for is refused",
}


def extract_answer(response: str, extract: str) -> str | None:
    """The answer that a response commits to, cleaned, or None. Raises BoundExceeded, ValueError for `extract`."""
    if extract not in ("boxed", "lenient"):
        raise ValueError(f"params.extract: unknown {extract!r}; known are boxed, lenient")
    answer = split_response(response).answer
    if answer is None:
        return None
    boxed = last_boxed(answer)
    if boxed is not None or extract == "boxed":
        return clean(boxed) if boxed else None
    return _lenient(clean(tail(answer)))


def _lenient(text: str) -> str | None:
    phrases = list(_PHRASE.finditer(text))
    if phrases:
        text = phrases[-1]["answer"].strip()
        if not (text and re.search(r"[a-z]{3,}", text)):
            return text or None
    elif (closing := _CLOSING.search(text)) and re.search(r"\d|\\", closing["answer"]):
        return closing["answer"].strip()
    numbers = _LAST_NUMBER.findall(text)
    return numbers[-1].rstrip(",") if numbers else None


@reward(
    "math",
    params=PARAMS,
    example={"question": "What is 1/2 + 1/4?", "response": "It is \\boxed{\\frac{3}{4}}.", "reference": "3/4"},
    cases=[
        Case(name="honest", response="So \\boxed{\\frac{3}{4}}", score=1),
        Case(name="decimal", response="\\boxed{0.75}", score=1),
        Case(name="wrong", response="\\boxed{\\frac{4}{3}}", score=0),
        Case(name="empty", response="", score=0),
        Case(name="empty box", response="3/4 \\boxed{}", score=0),
        Case(name="no box", response="The answer is 3/4.", score=0),
        Case(name="no box, lenient", response="The answer is 3/4.", params={"extract": "lenient"}, score=1),
        Case(name="last box counts", response="\\boxed{3/4} no, \\boxed{1}", score=0),
        Case(name="box in the thinking only", response="<think>\\boxed{3/4}</think> done", score=0),
        Case(name="thinking never ends", response="<think>\\boxed{3/4}", score=0),
        Case(name="box after the thinking", response="<think>\\boxed{1}</think>\\boxed{3/4}", score=1),
        Case(name="not evaluated", response="\\boxed{1/2 + 1/4}", score=0),
        Case(name="chain", response="\\boxed{\\frac{6}{8} = 0.75}", score=1),
        Case(name="false chain", response="\\boxed{1 = 0.75}", score=0),
        Case(name="hostile tower", response="\\boxed{9^{9^{9^9}}}", score=0),
        Case(name="hostile code", response="\\boxed{__import__('os').system('true')}", score=0),
        Case(name="full-width digits", response="\\boxed{\uff10.\uff17\uff15}", score=1),
        Case(name="two answers", response="\\boxed{3/4, 1}", score=0),
    ],
)
def math(request: RewardRequest) -> RewardResult:
    """1 where the response's final answer equals the reference expression, else 0."""
    assert isinstance(request.response, str), "checked by the scorer"
    try:
        answer = extract_answer(request.response, request.params.get("extract", "boxed"))
        if answer is None:
            return RewardResult(score=0, reason="no answer", verifier="math")
        verdict = verify_math(answer, request.reference, evaluated=request.params.get("evaluated", True))
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="math")
    except UnreadableReference as error:
        return RewardResult(score=None, status="unscorable", reason=str(error), verifier="math")
    return RewardResult(score=float(verdict.equal), extracted=answer, reason=verdict.reason, verifier="math")
