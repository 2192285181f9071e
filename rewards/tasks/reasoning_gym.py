"""Task `reasoning_gym`: a puzzle, judged by the generator that made it."""

import re
from typing import Any

from rewards.extraction import EXTRACT, extract_answer
from rewards.registry import Case, reward
from rewards.response import MAX_SPAN_CHARS, BoundExceeded, split_response, tail
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.reasoning_gym import PuzzleScore, UnusablePuzzle, load_generators, read_puzzle, score_answer

TAG_OPEN, TAG_CLOSE = "<answer>", "</answer>"
PARAMS = {
    "extract": "boxed (default): the last box after the thinking; lenient: final-answer phrases or the last number "
    "too; answer_tag: what the last <answer>...</answer> holds",
    "floor": "1 (default): lower scores of the generator are 0, since many pay a little for any text; 0 keeps them all",
}
_SPACING = re.compile(r"\\[,;:! ]|\\(?:left|right|displaystyle)(?![a-zA-Z])")
_WRAPPER = re.compile(r"\\(?:text|texttt|mathtt|mathrm|textbf|mathbf)\s?\{([^{}]*+)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]*+)\}\s?\{([^{}]*+)\}")


def _respond(reference: Any) -> str:
    answer = reference["entry"]["answer"] if isinstance(reference, dict) else reference
    return f"{TAG_OPEN}{answer}{TAG_CLOSE} \\boxed{{{answer}}}"


def _countdown(*numbers: int) -> dict[str, Any]:
    entry = {"question": "", "answer": "6 * 4 + 0", "metadata": {"numbers": list(numbers), "target": 24}}
    return {"generator": "countdown", "entry": entry}


def _entry(generator: str, answer: str, **metadata: Any) -> dict[str, Any]:
    return {"generator": generator, "entry": {"question": "", "answer": answer, "metadata": metadata}}


_SUM = _entry("chain_sum", "1234")
_LADDER = _entry("binary_matrix", "0 1\n1 2")
_TAG = {"extract": "answer_tag"}


@reward(
    "reasoning_gym",
    warm_up=load_generators,
    params=PARAMS,
    respond=_respond,
    example={"question": "What is 1000 + 234?", "response": "\\boxed{1234}", "reference": _SUM},
    cases=[
        Case(name="honest", response="So \\boxed{1234}", score=1),
        Case(name="as the generator allows", response="\\boxed{1,234.0}", score=1),
        Case(name="in a tag", response="<answer>1234</answer>", params=_TAG, score=1),
        Case(name="the last tag counts", response="<answer>1234</answer><answer>7</answer>", params=_TAG, score=0),
        Case(name="a tag that is not closed", response="<answer>1234</answer><answer>12", params=_TAG, score=0),
        Case(name="lenient", response="The answer is 1234.", params={"extract": "lenient"}, score=1),
        Case(name="wrong", response="\\boxed{1235}", score=0),
        Case(name="empty", response="", score=0),
        Case(name="empty box", response="1234 \\boxed{}", score=0),
        Case(name="no box", response="1234", score=0),
        Case(name="in the thinking only", response="<think>\\boxed{1234}</think> done", score=0),
        Case(name="thinking that never ends", response="<think>\\boxed{1234}", score=0),
        Case(name="partial credit is cut", response="\\boxed{1234 or 1235}", score=0),
        Case(name="full-width digits", response="\\boxed{１２３４}", score=1),
        Case(name="several lines", response="<answer>\n0 1\n1 2\n</answer>", reference=_LADDER, params=_TAG, score=1),
        Case(name="code is not run", response="<answer>[[0, 1], [1, len('ab')]]</answer>", reference=_LADDER,
             params={**_TAG, "floor": 0}, score=0),
        Case(name="another solution", response="\\boxed{(8 - 2) * 4}", reference=_countdown(4, 2, 8), score=1),
        Case(name="other numbers", response="\\boxed{6 * 4}", reference=_countdown(4, 2, 8), score=0),
        Case(name="in LaTeX", response="\\boxed{(8 - 2) \\times 4}", reference=_countdown(4, 2, 8), score=1),
        Case(name="hostile power", response="\\boxed{9**9**9**9}", reference=_countdown(4, 2, 8), score=0),
        Case(name="hostile code", reference=_countdown(4, 2, 8), score=0,
             response="\\boxed{__import__('os').system('true')}"),
        Case(name="any four numbers", response="\\boxed{6*4*1*1}", score=0,
             reference=_entry("puzzle24", "8*(4 - 1 - 0)", numbers=[8, 4, 1, 0])),
        Case(name="any text", response="\\boxed{perhaps}", reference=_entry("game_of_life_halting", "True"), score=0),
        Case(name="no number", response="\\boxed{nan}", score=0,
             reference=_entry("complex_arithmetic", "1 + 2i", result=[1, 2])),
        Case(name="the digits that agree", response="\\boxed{0}", reference=_entry("coin_flip", "0.25"), score=0),
        Case(name="sorted, but other numbers", response="\\boxed{[1.5, 2.5]}", score=0,
             reference=_entry("number_sorting", "['1', '2']", direction="ascending")),
        Case(name="huge", response="\\boxed{" + "1" * 100_000 + "}", score=0),
    ],
)  # fmt: skip
def reasoning_gym(request: RewardRequest) -> RewardResult:
    """The score of reasoning-gym's generator for the final answer: 1 for a solution, 0 for what is below the floor."""
    assert isinstance(request.response, str), "checked by the scorer"
    floor = request.params.get("floor", 1)
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor <= 1:
        raise ValueError(f"params.floor: {floor!r} is no number from 0 to 1")
    try:
        puzzle = read_puzzle(request.reference)
        answer = _extract(request.response, request.params.get("extract", "boxed"))
        if not answer:
            return RewardResult(score=0, reason="no answer", verifier="reasoning_gym")
        best = PuzzleScore(-1.0, "")
        for reading in _readings(answer, "×" if "×" in (puzzle.entry["answer"] or "") else "*"):
            score = score_answer(puzzle, reading)
            best = score if score.score > best.score else best
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error), verifier="reasoning_gym")
    except UnusablePuzzle as error:
        return RewardResult(score=None, status="unscorable", reason=str(error), verifier="reasoning_gym")
    return RewardResult(
        score=best.score if best.score >= floor else 0,
        components={"generator": best.score},
        extracted=answer,
        reason=best.reason,
        verifier="reasoning_gym",
    )


def _extract(response: str, extract: str) -> str | None:
    """The answer of a box, of a phrase, or of a tag. Raises BoundExceeded and ValueError."""
    if extract in EXTRACT:
        return extract_answer(response, extract)
    if extract != "answer_tag":
        raise ValueError(f"params.extract: unknown {extract!r}; known are {', '.join(EXTRACT)}, answer_tag")
    text = tail(split_response(response).answer or "")
    inside, mark, _ = text.rpartition(TAG_OPEN)[2].partition(TAG_CLOSE)
    if not mark or TAG_OPEN not in text:
        return None
    if len(inside) > MAX_SPAN_CHARS:
        raise BoundExceeded(f"the answer has more than {MAX_SPAN_CHARS} characters")
    return inside.strip("\n").rstrip()


def _readings(answer: str, times: str) -> list[str]:
    """The answer as it is, and without what LaTeX adds to it."""
    if "\\" not in answer and "$" not in answer:
        return [answer]
    text = _FRACTION.sub(r"\1/\2", _WRAPPER.sub(r"\1", _SPACING.sub(" ", answer.replace("$", ""))))
    for command, symbol in (
        ("\\times", times),
        ("\\cdot", times),
        ("\\div", "/"),
        ("\\{", "{"),
        ("\\}", "}"),
        ("\\_", "_"),
    ):
        text = text.replace(command, symbol)
    return [answer, text.strip()]
