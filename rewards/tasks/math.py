"""Task `math`: an expression equal to the reference."""

from rewards.extraction import extract_answer
from rewards.registry import Case, boxed, reward
from rewards.response import BoundExceeded
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.math import UnreadableReference, read_references, verify_math

PARAMS = {
    "extract": "boxed (default): the last box after the thinking, nothing else; lenient: final-answer phrases, a "
    "closing expression or the last number too",
    "evaluated": "true (default): where the reference is a number, an answer that still holds the operation asked "
    "for is refused",
}


@reward(
    "math",
    params=PARAMS,
    respond=boxed,
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
    """1 where the response's final answer equals the reference, or one of a list of references, else 0."""
    assert isinstance(request.response, str), "checked by the scorer"
    evaluated = request.params.get("evaluated", True)
    if not isinstance(evaluated, bool):
        raise ValueError(f"params.evaluated: {evaluated!r} is neither true nor false")
    try:
        read_references(request.reference)
        answer = extract_answer(request.response, request.params.get("extract", "boxed"))
        if answer is None:
            return RewardResult(score=0, reason="no answer", verifier="math")
        verdict = verify_math(answer, request.reference, evaluated=evaluated)
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="math")
    except UnreadableReference as error:
        return RewardResult(score=None, status="unscorable", reason=str(error), verifier="math")
    return RewardResult(score=float(verdict.equal), extracted=answer, reason=verdict.reason, verifier="math")
