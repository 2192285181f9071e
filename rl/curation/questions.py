"""Questions to the judge model where rules cannot decide, through the client of the rewards' judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rewards.calls import Call, ModelFailure, Reply
from rewards.judge_prompt import Unparseable, judge_call, read_verdict
from rl.concurrency import for_each
from rl.curation.candidates import Candidate
from rl.curation.queries import Query
from rl.files import Journal


class Judge(Protocol):
    async def ask(self, calls: list[Call]) -> list[Reply]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about an item; every verdict but those of `keep` is a reason to drop it."""

    task: str
    verdicts: Mapping[str, str]
    keep: tuple[str, ...]
    shows: Literal["query", "response"]


QUESTIONS: dict[str, Question] = {
    "query": Question(
        task="The RESPONSE block holds a query for a data set whose answers are verified by program. You do not answer "
        "the query; you say whether it fits.",
        verdicts={
            "fits": "one question, which has one short answer or a program as its answer that can be checked",
            "multiple_questions": "several questions or sub-questions, each of which wants an answer of its own",
            "open_ended": "a request to generate, discuss or explain text, with no single right answer",
            "not_verifiable": "anything else whose answer cannot be checked easily: a proof, an opinion, a drawing",
        },
        keep=("fits",),
        shows="query",
    ),
    "domain": Question(
        task="The RESPONSE block holds a query. You do not answer it; you name its domain.",
        verdicts={
            "math": "mathematics",
            "code": "programming",
            "logic": "logical reasoning and puzzles",
            "stem": "physics, chemistry, biology, engineering and other sciences",
            "other": "anything else",
        },
        keep=("math", "code", "logic", "stem", "other"),
        shows="query",
    ),
    "guesswork": Question(
        task="The RESPONSE is a solution: first the reasoning, then the final answer. You say whether the reasoning "
        "leads to the answer.",
        verdicts={
            "reasoned": "the final answer follows from the steps that are written down",
            "guesswork": "the final answer is guessed, or stated without steps that lead to it",
        },
        keep=("reasoned",),
        shows="response",
    ),
    "disagreement": Question(
        task="The RESPONSE is a solution: first the reasoning, then a summary with the final answer.",
        verdicts={
            "consistent": "the summary gives the result and the method of the reasoning",
            "disagreement": "the summary gives another result or another method than the reasoning",
        },
        keep=("consistent",),
        shows="response",
    ),
    "style": Question(
        task="The RESPONSE is a solution: first the reasoning, then a summary with the final answer.",
        verdicts={
            "steady": "one language and one fitting style throughout",
            "language_mixing": "languages are mixed without need",
            "style_shift": "the style changes without need: another speaker, another format, text from elsewhere",
        },
        keep=("steady",),
        shows="response",
    ),
}


async def verdicts_of(
    items: Sequence[Query | Candidate],
    name: str,
    judge: Judge,
    journal: Journal,
    asked: Sequence[str],
) -> tuple[list[str | None], list[str]]:
    """The verdict on each item, None without one, and a note for each that has none: not asked, or no answer."""
    if name not in asked:
        return [None] * len(items), [f"judge_{name}_not_asked"] * len(items)

    async def one(item: Query | Candidate) -> str | None:
        text = item.text if isinstance(item, Query) else f"REASONING:\n{item.thinking}\n\nSUMMARY:\n{item.answer}"
        blocks = {"QUESTION": item.query.text} if isinstance(item, Candidate) else {}
        question = QUESTIONS[name]
        call = judge_call(task=question.task, blocks=blocks, response=text, verdicts=question.verdicts)
        key = f"{name}/{item.id}"
        if key in journal:
            return journal.get(key)
        try:
            (reply,) = await judge.ask([call])
            return journal.add(key, read_verdict(reply, question.verdicts))
        except (ModelFailure, Unparseable):
            return None

    found = await for_each([*items], one)
    return found, [f"judge_{name}_unanswered" for verdict in found if verdict is None]


def reason_of(name: str, verdict: str | None) -> str | None:
    """The verdict as a reason to drop an item; an item without a verdict stays."""
    return None if verdict is None or verdict in QUESTIONS[name].keep else verdict
