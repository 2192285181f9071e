"""Queries: read once each, with a domain; a validation set reserved before anything else is done with them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.curation.funnel import Funnel
from rl.curation.similarity import HeldOut, SimilarityConfig
from rl.rows import parse_row
from rl.seeds import derive_seed
from rl.sources import SourceConfig, rows_once, to_prompt
from rollout.types import Prompt

DOMAINS = {
    "math": ("math",),
    "code": ("code", "sql"),
    "logic": ("reasoning_gym",),
    "instructions": ("ifeval", "ifbench", "multi_turn_if", "length_control"),
}
DOMAIN_FIELDS = "domain", "ability"  # the second is verl's


class QuerySourceConfig(SourceConfig):
    """A source whose rows have the domain `domain`, or that of their field `domain` or `ability`, or their task's."""

    domain: str | None = None


class ValidationConfig(BaseModel):
    """A set that training never sees: `size` queries, or a `share` of all; as many of each domain as there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int | None = Field(None, ge=0)
    share: float | None = Field(None, ge=0, lt=1)
    similarity: SimilarityConfig = SimilarityConfig()

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.size is None) == (self.share is None):
            raise ValueError("give either size or share (0 for no validation set)")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A prompt with its domain; `text` is its last message without the source's template."""

    prompt: Prompt
    domain: str
    text: str

    @property
    def id(self) -> str:
        return self.prompt.id

    def after(self, system: str | None) -> Self:
        """The same query behind a system message; one that it has already gets the text before its own."""
        if system is None:
            return self
        first, *rest = messages = self.prompt.messages
        if first["role"] == "system":
            system, messages = f"{system}\n\n{first['content']}", tuple(rest)
        prompt = replace(self.prompt, messages=({"role": "system", "content": system}, *messages))
        return replace(self, prompt=prompt)

    def row(self) -> dict[str, Any]:
        """As a row of a prompt file, which `rl.sources` reads back as the same prompt."""
        return {
            "prompt": [dict(message) for message in self.prompt.messages],
            "reference": self.prompt.reference,
            "task": self.prompt.task,
            "params": dict(self.prompt.params),
            "domain": self.domain,
            "id": self.id,
        }


def read_queries(sources: Sequence[QuerySourceConfig], seed: int, funnel: Funnel) -> list[Query]:
    """The rows of all sources, each query once. Raises ValueError naming a bad row, or skips and counts it."""
    found: list[Query | None] = []
    reasons: list[str | None] = []
    ids: set[str] = set()
    for number, source in enumerate(sources):
        for where, row in rows_once(source, derive_seed(seed, "source", number)):
            try:
                query = _query(row, source, where)
            except ValueError:
                if source.on_bad_row == "stop":
                    raise
                query = None
            found.append(query)
            reasons.append("bad_row" if query is None else "duplicate" if query.id in ids else None)
            if query is not None:
                ids.add(query.id)
    queries = funnel.sift("rows", "rows", found, reasons)
    if not queries:
        raise ValueError(f"queries: no usable row in {', '.join(source.label for source in sources)}")
    return [query for query in queries if query is not None]


def _query(raw: Any, source: QuerySourceConfig, where: str) -> Query:
    row = parse_row(raw, where)
    prompt = to_prompt(row, source, where)
    label = source.domain or next((row[name] for name in DOMAIN_FIELDS if row.get(name)), None)
    if label is not None and not isinstance(label, str):
        raise ValueError(f"{where}: domain must be a name, got {label!r:.100}")
    before, _, after = (source.template or "{question}").partition("{question}")
    text = prompt.messages[-1]["content"].removeprefix(before).removesuffix(after)
    return Query(prompt=prompt, domain=label or domain_of(prompt.task), text=text)


def domain_of(task: str) -> str:
    """The domain that a task's name tells, or the name itself."""
    return next((domain for domain, starts in DOMAINS.items() if task.startswith(starts)), task)


def reserve(
    queries: Sequence[Query], config: ValidationConfig, seed: int, funnel: Funnel
) -> tuple[list[Query], list[Query], HeldOut]:
    """The validation set, the queries that are left and not near any of it, and what tells whether a text is.

    Which queries are reserved depends on the seed and on what they are, not on their order in the files.
    """
    size = config.size if config.size is not None else round((config.share or 0) * len(queries))
    if size >= len(queries):
        raise ValueError(f"validation.size: {size} of {len(queries)} queries leaves none to train on")
    reserved = balanced(shuffled(queries, seed, "validation"))[:size]
    ids = {query.id for query in reserved}
    held_out = HeldOut([query.text for query in reserved], config.similarity)
    reasons = [
        "validation" if query.id in ids else "near_validation" if held_out.near_question(query.text) else None
        for query in queries
    ]
    return reserved, funnel.sift("reserve", "queries", queries, reasons), held_out


def read_held_out(sources: Sequence[QuerySourceConfig], similarity: SimilarityConfig, seed: int) -> HeldOut:
    """What tells whether a text is near one of these queries; without sources none is."""
    queries = read_queries(sources, seed, Funnel()) if sources else []
    return HeldOut([query.text for query in queries], similarity)


def keep_unseen(queries: Sequence[Query], held_out: HeldOut, funnel: Funnel) -> list[Query]:
    """Queries that are near no held-out one."""
    reasons = ["near_held_out" if held_out.near_question(query.text) else None for query in queries]
    return funnel.sift("held out", "queries", queries, reasons)


Labelled = TypeVar("Labelled", bound=Any)  # has `id` and `domain`


def shuffled(items: Iterable[Labelled], seed: int, name: str) -> list[Labelled]:
    """In an order of the seed and their ids alone."""
    return sorted(items, key=lambda item: (derive_seed(seed, name, item.id), item.id))


def balanced(items: Iterable[Labelled]) -> list[Labelled]:
    """The first of each domain, then the second of each, and so on: any beginning of it is as broad as can be."""
    by_domain: dict[str, list[Labelled]] = defaultdict(list)
    for item in items:
        by_domain[item.domain].append(item)
    rounds = itertools.zip_longest(*(by_domain[domain] for domain in sorted(by_domain)))
    return [item for each in rounds for item in each if item is not None]


def beyond_cap(queries: Sequence[Query], cap: int | None, seed: int) -> list[str | None]:
    """The reason `domain_cap` for what a domain has beyond `cap`, chosen by the seed."""
    counts: dict[str, int] = defaultdict(int)
    over: set[str] = set()
    for query in shuffled(queries, seed, "domain_cap") if cap is not None else []:
        counts[query.domain] += 1
        if cap is not None and counts[query.domain] > cap:
            over.add(query.id)
    return ["domain_cap" if query.id in over else None for query in queries]
