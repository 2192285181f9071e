"""Query filters by name, each `(query) -> reason to drop it, or None`; and the reference before its own verifier."""

import re
from collections.abc import Callable, Sequence

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rl.concurrency import for_each
from rl.curation.queries import Query
from rl.judgement import ResponseScorer
from rl.models import resolve_model
from rl.plugins import check_name, find_function
from rollout.chat import Chat

QueryFilter = Callable[[Query], str | None]

_PART = re.compile(
    r"(?:^|\n|[;:.?!] )\s*(?:\(?(?P<letter>[a-h])\)|\(?(?P<roman>i{1,3}|iv|v)\)|Part (?P<part>[A-H1-9])\b)\s"
)
_ASKS = re.compile(r"\?(?=\s|$)")
_GENERATION = re.compile(
    r"^\W*(?:please |could you |can you )?(?:write|compose|draft|create|generate|invent|brainstorm|summari[sz]e|"
    r"describe|discuss|explain|imagine|tell me|translate)\b"
    r"(?!\W+(?:the |an? )?(?:(?:\w+ )?(?:equation|expression|value|number|fraction|sum|product|answer|function|program|"
    r"code|script|query|polynomial|formula|smallest|largest)))",
    re.IGNORECASE,
)  # fmt: skip
CODE_TASKS = "code", "sql"  # "write" is how they ask


def multiple_questions(query: Query) -> str | None:
    """Labelled parts, two or more in their order, or several question marks: no single answer to verify.

    Options of a multiple choice are labelled too, so tasks whose name begins with `mc` and `multi_select` are exempt.
    """
    if query.prompt.task.startswith(("mcq", "multi_select")):
        return None
    found = [match.groupdict() for match in _PART.finditer(query.text)]
    for kind, start in (("letter", "ab"), ("roman", ("i", "ii")), ("part", None)):
        labels = [match[kind] for match in found if match[kind]]
        if len(labels) > 1 and (start is None or labels[:2] == list(start)):
            return "multiple_questions"
    return "multiple_questions" if len(_ASKS.findall(query.text)) > 1 else None


def open_ended(query: Query) -> str | None:
    """A request to write, describe or explain: text generation, which no reference settles."""
    if query.prompt.task.startswith(CODE_TASKS):
        return None
    return "open_ended" if _GENERATION.search(query.text) else None


QUERY_FILTERS: dict[str, QueryFilter] = {"multiple_questions": multiple_questions, "open_ended": open_ended}


def check_query_filters(names: Sequence[str]) -> list[str]:
    return [check_name(name, QUERY_FILTERS, "query filter") for name in names]


def rule_reasons(queries: Sequence[Query], names: Sequence[str]) -> list[str | None]:
    """The first reason of the named filters for each query; `module:function` is one outside the tree."""
    chosen = [find_function(name, QUERY_FILTERS, "query filter") for name in names]
    return [next((reason for check in chosen if (reason := check(query))), None) for query in queries]


def length_reasons(queries: Sequence[Query], model: str, max_tokens: int) -> list[str | None]:
    """`too_long` for a query whose prompt has more tokens."""
    chat = Chat(resolve_model(model))
    return ["too_long" if len(chat.render(query.prompt)) > max_tokens else None for query in queries]


async def verifiability(queries: Sequence[Query], scorer: ResponseScorer) -> tuple[list[str | None], list[str]]:
    """Reasons and notes: a reference is verifiable where the response that commits to it scores 1.

    `unverifiable` where it does not, `unreadable_reference` where the verifier cannot read it, `unscored` where our
    side failed. Tasks that name no such response (tests of code, instructions) are noted as not checked.
    """
    tasks = load_tasks()
    notes = []

    async def one(query: Query) -> str | None:
        task = tasks.get(query.prompt.task)
        if task is None or task.respond is None:
            notes.append("reference_not_checked")
            return None
        request = score_request(query, task.respond(query.prompt.reference), f"{query.id}/reference")
        (result,) = await scorer.score([request])
        if result.score is None:
            return "unreadable_reference" if result.status == "unscorable" else "unscored"
        return None if result.score >= 1 else "unverifiable"

    return await for_each(queries, one), notes


def score_request(query: Query, response: str, identity: str, **params: object) -> RewardRequest:
    """By the task alone, as in evaluations: a combination is for training, and its scores are no accuracy."""
    return RewardRequest(
        task=query.prompt.task,
        question=[dict(message) for message in query.prompt.messages],
        response=response,
        reference=query.prompt.reference,
        params=params | dict(query.prompt.params) | {"combine": False},
        id=identity,
    )
