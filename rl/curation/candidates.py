"""Candidates: responses to queries, asked for once and kept in a journal, judged by each query's own verifier."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rewards.extraction import extract_answer
from rewards.registry import boxed, load_tasks
from rewards.response import BoundExceeded, last_boxed, split_response
from rewards.types import RewardResult
from rl.concurrency import Show, for_each
from rl.curation.queries import Query
from rl.curation.query_filters import score_request
from rl.curation.respondents import RespondentConfig, Response, Unanswered, open_respondent
from rl.files import Journal
from rl.judgement import ResponseScorer
from rl.seeds import derive_seed

MAX_FAILURES_IN_A_ROW = 16
RIGHT = 1.0

_COMMITS = re.compile(r"\b(?:final |correct )?(?:answer|result) ?(?:is|:|=)", re.IGNORECASE)


class Console(Protocol):
    """Where a stage says what it does and how far it is."""

    def stage(self, text: str) -> None: ...

    def message(self, text: str) -> None: ...

    def progress(self, name: str) -> Show: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A judged response to a query. `right` is a person's verdict, None without one; score is None where unscored.

    `thinking_score` judges the answer that the thinking commits to, None where it states none that can be read.
    """

    query: Query
    number: int
    text: str
    finish_reason: str
    score: float | None
    extracted: str | None
    thinking_score: float | None
    right: bool | None = None

    @property
    def id(self) -> str:
        return f"{self.query.id}-{self.number}"

    @property
    def domain(self) -> str:
        return self.query.domain

    @property
    def thinking(self) -> str:
        return split_response(self.text).thinking

    @property
    def answer(self) -> str:
        return split_response(self.text).answer or ""

    @property
    def content(self) -> str:
        """The turn: the thinking in one block, in the template's own spacing, then the summary."""
        return f"<think>\n{self.thinking}\n</think>\n\n{self.answer}"

    @property
    def passed(self) -> bool:
        """By a person's verdict where there is one, else by the verifier's."""
        return self.right if self.right is not None else self.score is not None and self.score >= RIGHT


async def ask_all(
    queries: Sequence[Query],
    config: RespondentConfig,
    journal: Journal,
    *,
    name: str,
    thinking: bool,
    seed: int,
    console: Console,
) -> tuple[dict[str, list[Response]], dict[str, str]]:
    """The responses to each query by its id, and why others have none; those of the journal are not asked for again.

    Raises RuntimeError when so many queries in a row go unanswered that the respondent must be gone.
    """
    keys = {query.id: f"{query.id}/{derive_seed(seed, name, query.id)}" for query in queries}
    missing = [query for query in queries if keys[query.id] not in journal]
    failures: dict[str, str] = {}
    if missing:
        console.stage(f"{name}: asking for responses to {len(missing)} of {len(queries)} queries")
        in_a_row = 0
        async with open_respondent(config, thinking=thinking, seed=seed) as respondent:

            async def one(query: Query) -> None:
                nonlocal in_a_row
                try:
                    responses = await respondent.respond(query, derive_seed(seed, name, query.id))
                except Unanswered as error:
                    failures[query.id] = error.reason
                    in_a_row += error.is_outage
                    if in_a_row >= MAX_FAILURES_IN_A_ROW:
                        raise RuntimeError(
                            f"{name}: {in_a_row} queries in a row got no answer ({error}); what was answered is kept: "
                            "go on with --resume"
                        ) from error
                    return
                in_a_row = 0
                journal.add(keys[query.id], responses)

            await for_each(missing, one, console.progress(name))
    return {query.id: journal.get(keys[query.id]) for query in queries if keys[query.id] in journal}, failures


async def judge_all(
    queries: Sequence[Query],
    responses: Mapping[str, list[Response]],
    scorer: ResponseScorer,
    journal: Journal,
    *,
    name: str,
    console: Console,
) -> dict[str, list[Candidate]]:
    """The candidates of each query by its id. Judgements without a score are our failures, and tried again later."""

    async def one(query: Query) -> list[Candidate]:
        return [
            await _judge(query, number, response, scorer, journal, f"{name}/{query.id}/{number}")
            for number, response in enumerate(responses[query.id])
        ]

    asked = [query for query in queries if query.id in responses]
    console.stage(f"{name}: judging the responses to {len(asked)} queries")
    judged = await for_each(asked, one, console.progress(f"{name}, judged"))
    return {query.id: found for query, found in zip(asked, judged, strict=True)}


async def _judge(
    query: Query, number: int, response: Response, scorer: ResponseScorer, journal: Journal, key: str
) -> Candidate:
    verdict = journal.get(key)
    if verdict is None:
        text = response["text"]
        stated = _stated_in_thinking(text, query.prompt.task)
        texts = [text] if stated is None else [text, stated]
        known = {name: response[name] for name in ("think_block",) if name in response}
        results = await scorer.score([score_request(query, each, key, **known) for each in texts])
        verdict = _verdict(results)
        if results[0].score is not None:
            journal.add(key, verdict)
    return Candidate(
        query=query, number=number, text=response["text"], finish_reason=response["finish_reason"], **verdict
    )


def _verdict(results: Sequence[RewardResult]) -> dict[str, Any]:
    return {
        "score": results[0].score,
        "extracted": results[0].extracted,
        "thinking_score": results[1].score if len(results) > 1 else None,
    }


def _stated_in_thinking(text: str, task: str) -> str | None:
    """A response of the last answer alone that the thinking commits to, by a box or in words; None without one.

    Only for tasks whose answer goes into a box: of others it is not known how an answer alone would be given.
    """
    respond = getattr(load_tasks().get(task), "respond", None)
    thinking = split_response(text).thinking
    if respond is not boxed or not thinking:
        return None
    try:
        answer = last_boxed(thinking)
        commitments = list(_COMMITS.finditer(thinking))
        if answer is None and commitments:
            answer = extract_answer(thinking[commitments[-1].start() :], "lenient")
    except BoundExceeded:
        return None
    return boxed(answer) if answer else None


def pass_rate(candidates: Sequence[Candidate]) -> float | None:
    """Right ones among those that could be judged; None where none could."""
    judged = [each for each in candidates if each.right is not None or each.score is not None]
    return sum(each.passed for each in judged) / len(judged) if judged else None


def with_verdict(candidate: Candidate, right: bool | None) -> Candidate:
    return replace(candidate, right=right)
