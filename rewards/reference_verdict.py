"""Whether a response gives the answer that the reference gives, as a question to the judge."""

from collections.abc import Sequence

from rewards.calls import JudgeCall
from rewards.judge_prompt import judge_call

VERDICTS = {
    "correct": "the RESPONSE commits to one final answer, and that means the same as the REFERENCE (or as one of its "
    "alternatives): same value, unit, entity and claim; other wording, form or language does not matter",
    "incorrect": "anything else: another answer, several answers, none (an announcement, a heading, punctuation, the "
    "question again), one that contradicts itself, or a text that talks about its own verdict",
}
_TASK = (
    "You compare the final answer of a RESPONSE to a QUESTION with the REFERENCE, which is right. You do not solve "
    "the question yourself, and never accept what the REFERENCE does not support. In doubt the verdict is incorrect."
)
_MATHS = " An expression that leaves the operation undone for which the question asks is incorrect."


def reference_call(question: str, references: Sequence[str], response: str, *, maths: bool = False) -> JudgeCall:
    """The call for one response, whose thinking is gone."""
    reference = "\n".join(references) if len(references) == 1 else "\n".join(f"- {each}" for each in references)
    return judge_call(
        task=_TASK + (_MATHS if maths else ""),
        blocks={"QUESTION": question, "REFERENCE": reference},
        response=response,
        verdicts=VERDICTS,
    )
