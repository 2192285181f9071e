"""What is kept in the end: few good conversations for the cold start, and pairs of query and verifier for RL."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rl.curation.candidates import Candidate, pass_rate
from rl.curation.queries import Query, balanced, shuffled
from rl.curation.respondents import RespondentConfig
from rl.files import read_lines


class ChooseConfig(BaseModel):
    """At most `per_query` responses to a query, the shortest or at random by the seed; at most `max_conversations`
    in all, chosen by the seed and balanced over domains. The report keeps both samples and steps few."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_query: int = Field(1, ge=1)
    by: Literal["shortest", "seed"] = "shortest"
    max_conversations: int | None = Field(None, ge=1)


class PairsConfig(RespondentConfig):
    """Pairs for RL: not used before, learnable for this model, as hard as possible, broad (2505.09388 §4.2).

    The model answers each query `num_samples` times; queries whose pass rate is above 0 and at most `max_rate` stay,
    up to `num_pairs` of them: the hardest of each domain in turn.
    """

    num_samples: int = Field(8, ge=1)
    max_rate: float = Field(0.75, gt=0, le=1)
    num_pairs: int | None = Field(None, ge=1)
    thinking: bool = True


def choose(candidates: Sequence[Candidate], config: ChooseConfig, seed: int) -> list[str | None]:
    """A reason for each response that the limits leave out."""
    order = shuffled(candidates, seed, "choose")
    if config.by == "shortest":
        order.sort(key=lambda each: len(each.text))
    taken: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for each in order:
        taken[each.query.id] += 1
        if taken[each.query.id] > config.per_query:
            reasons[each.id] = "beyond_per_query"
    left = balanced(each for each in shuffled(candidates, seed, "max_conversations") if each.id not in reasons)
    reasons |= {each.id: "beyond_max_conversations" for each in left[config.max_conversations or len(left) :]}
    return [reasons.get(each.id) for each in candidates]


def conversation_row(candidate: Candidate) -> dict[str, Any]:
    """A row of a conversation file."""
    messages = [dict(message) for message in candidate.query.prompt.messages]
    return {
        "id": candidate.id,
        "query_id": candidate.query.id,
        "domain": candidate.domain,
        "thinking": True,
        "messages": [*messages, {"role": "assistant", "content": candidate.content}],
    }


def used_queries(paths: Sequence[str]) -> set[str]:
    """The ids of the queries in files of conversations. Raises ValueError for a row that names none."""
    used = set()
    for path in paths:
        for where, row in read_lines(Path(path), "exclude"):
            if not isinstance(row.get("query_id"), str):
                raise ValueError(f"{where}: no query_id: a file of conversations that curate wrote is wanted")
            used.add(row["query_id"])
    return used


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with the pass rate of the model that shall learn it."""

    query: Query
    rate: float

    @property
    def id(self) -> str:
        return self.query.id

    @property
    def domain(self) -> str:
        return self.query.domain


def pair_reasons(
    queries: Sequence[Query], answered: Mapping[str, Sequence[Candidate]], failures: Mapping[str, str], max_rate: float
) -> tuple[list[str | None], dict[str, float]]:
    """Why queries are not learnable, and the pass rates that were measured."""
    rates = {identity: pass_rate(found) for identity, found in answered.items()}

    def reason(query: Query) -> str | None:
        if query.id in failures:
            return failures[query.id]
        rate = rates[query.id]
        if rate is None:
            return "unscored"
        return "never_solved" if rate == 0 else "too_easy" if rate > max_rate else None

    return [reason(query) for query in queries], {key: rate for key, rate in rates.items() if rate is not None}


def hardest(pairs: Sequence[Pair], num_pairs: int | None, seed: int) -> tuple[list[Pair], list[str | None]]:
    """The pairs to keep, hardest first in each domain and domains in turn; and a reason for each of the others."""
    order = balanced(sorted(shuffled(pairs, seed, "pairs"), key=lambda pair: pair.rate))
    kept = order[: num_pairs or len(order)]
    ids = {pair.id for pair in kept}
    return kept, [None if pair.id in ids else "beyond_num_pairs" for pair in pairs]
