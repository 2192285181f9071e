"""What tasks share that compare one final answer with a reference: what is no answer, or beyond a bound, is wrong."""

import functools
from collections.abc import Callable, Iterable

from rewards.extraction import extract_answer
from rewards.response import BoundExceeded
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.math import UnreadableReference, Verdict

Judge = Callable[[RewardRequest], RewardResult]


class NoAnswer(Exception):
    """A response that commits to nothing."""


def final_answer(request: RewardRequest) -> str:
    """The answer by `params.extract`. Raises NoAnswer, BoundExceeded."""
    assert isinstance(request.response, str), "checked by the scorer"
    answer = extract_answer(request.response, request.params.get("extract", "boxed"))
    if answer is None:
        raise NoAnswer
    return answer


def first_equal(answer: str, verdicts: Iterable[Verdict]) -> RewardResult:
    """1 by the first verdict that finds the answer equal, else 0 by the first of all."""
    verdicts = list(verdicts)
    verdict = next((verdict for verdict in verdicts if verdict.equal), verdicts[0])
    return RewardResult(score=float(verdict.equal), extracted=answer, reason=verdict.reason)


def compares_answers(judge: Judge) -> Judge:
    """A judge that raises NoAnswer, BoundExceeded and UnreadableReference, as one whose results say so."""

    @functools.wraps(judge)
    def judge_safely(request: RewardRequest) -> RewardResult:
        try:
            result = judge(request)
        except NoAnswer:
            result = RewardResult(score=0, reason="no answer")
        except BoundExceeded as error:
            result = RewardResult(score=0, reason=str(error))
        except UnreadableReference as error:
            result = RewardResult(score=None, status="unscorable", reason=str(error))
        return result.model_copy(update={"verifier": request.task})

    return judge_safely
