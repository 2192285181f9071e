"""The stages of a curation: each takes queries or candidates, counts what it drops, and hands on the rest."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rl.curation.candidates import RIGHT, Candidate, Console, ask_all, judge_all, pass_rate
from rl.curation.config import QueryFiltersConfig, WithoutThinkingConfig
from rl.curation.funnel import Funnel
from rl.curation.queries import Query, beyond_cap
from rl.curation.query_filters import length_reasons, rule_reasons, verifiability
from rl.curation.questions import Judge, reason_of, verdicts_of
from rl.curation.respondents import RespondentConfig
from rl.curation.response_filters import ResponseFiltersConfig, direct_reason, response_reasons
from rl.curation.selection import ChooseConfig, Pair, PairsConfig, choose, hardest, pair_reasons
from rl.curation.similarity import HeldOut
from rl.files import Journal
from rl.judgement import ResponseScorer

RESPONSE_QUESTIONS = "guesswork", "disagreement", "style"


class JudgingScorer(ResponseScorer, Judge, Protocol):
    """A scorer that also passes questions on to the judge model behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all stages need: the scorer, the counts, the journals of what models have answered already."""

    scorer: JudgingScorer
    funnel: Funnel
    console: Console
    seed: int
    answers: Journal
    scores: Journal
    verdicts: Journal


@contextmanager
def open_work(folder: Path, scorer: JudgingScorer, funnel: Funnel, console: Console, seed: int) -> Iterator[Work]:
    with ExitStack() as stack:
        answers, scores, verdicts = (
            stack.enter_context(Journal(folder / f"{name}.jsonl")) for name in ("answers", "scores", "verdicts")
        )
        yield Work(
            scorer=scorer, funnel=funnel, console=console, seed=seed, answers=answers, scores=scores, verdicts=verdicts
        )


async def keep_verifiable(stage: str, queries: Sequence[Query], config: QueryFiltersConfig, work: Work) -> list[Query]:
    """What passes the rules, and whose reference its own verifier accepts."""
    reasons = rule_reasons(queries, config.names)
    if config.length is not None:
        long = length_reasons(queries, config.length.model, config.length.max_tokens)
        reasons = [rule or length for rule, length in zip(reasons, long, strict=True)]
    queries = work.funnel.sift(f"{stage} by rules", "queries", queries, reasons)
    if not config.verifiable:
        return queries
    reasons, notes = await verifiability(queries, work.scorer)
    return work.funnel.sift(f"{stage} by verifier", "queries", queries, reasons, notes)


async def keep_judged(queries: Sequence[Query], asked: Sequence[str], work: Work) -> list[Query]:
    """What the judge finds fit, with the domain that it names where it is asked for one."""
    verdicts, notes = await verdicts_of(queries, "query", work.scorer, work.verdicts, asked)
    domains, more = await verdicts_of(queries, "domain", work.scorer, work.verdicts, asked)
    labelled = [
        query if domain is None else replace(query, domain=domain)
        for query, domain in zip(queries, domains, strict=True)
    ]
    reasons = [reason_of("query", verdict) for verdict in verdicts]
    return work.funnel.sift("queries by judge", "queries", labelled, reasons, [*notes, *more])


async def keep_hard(queries: Sequence[Query], config: WithoutThinkingConfig | None, work: Work) -> list[Query]:
    """What a model does not answer without thinking."""
    stage = "without thinking"
    if config is None:
        return work.funnel.sift(stage, "queries", queries, [None] * len(queries), ["not_asked"] * len(queries))
    asked = [query.after(config.system) for query in queries]
    answered, failures = await _answered(asked, config, stage, thinking=False, work=work)
    rates = {identity: pass_rate(found) for identity, found in answered.items()}
    notes = [*failures.values(), *("unscored" for rate in rates.values() if rate is None)]
    reasons = [
        "answerable_without_thinking" if (rates.get(query.id) or 0) > config.max_rate else None for query in queries
    ]
    return work.funnel.sift(stage, "queries", queries, reasons, notes)


def keep_capped(queries: Sequence[Query], cap: int | None, work: Work) -> list[Query]:
    return work.funnel.sift("balance", "queries", queries, beyond_cap(queries, cap, work.seed))


async def find_candidates(
    queries: Sequence[Query], config: RespondentConfig, work: Work
) -> tuple[list[Query], dict[str, list[Candidate]]]:
    """The queries that were answered, and their candidates."""
    answered, failures = await _answered(queries, config, "candidates", thinking=True, work=work)
    reasons = [failures.get(query.id) for query in queries]
    return work.funnel.sift("candidates", "queries", queries, reasons), answered


async def find_direct(
    queries: Sequence[Query], config: RespondentConfig, held_out: HeldOut, work: Work
) -> list[Candidate]:
    """Right responses without thinking, in which nothing is held out."""
    answered, failures = await _answered(queries, config, "without thinking", thinking=False, work=work)
    work.funnel.sift("without thinking", "queries", queries, [failures.get(query.id) for query in queries])
    responses = [each for query in queries for each in answered.get(query.id, [])]
    reasons = [direct_reason(each, held_out) for each in responses]
    return work.funnel.sift("responses without thinking", "responses", responses, reasons)


async def _answered(
    queries: Sequence[Query], config: RespondentConfig, name: str, *, thinking: bool, work: Work
) -> tuple[dict[str, list[Candidate]], dict[str, str]]:
    """Judged responses by query, and why other queries have none."""
    responses, failures = await ask_all(
        queries, config, work.answers, name=name, thinking=thinking, seed=work.seed, console=work.console
    )
    judged = await judge_all(queries, responses, work.scorer, work.scores, name=name, console=work.console)
    return judged, failures


def never_right(candidates: Sequence[Candidate]) -> bool:
    """By the verifier, which could judge at least one: these are for people."""
    scores = [each.score for each in candidates if each.score is not None]
    return bool(scores) and max(scores) < RIGHT


def keep_passed(
    queries: Sequence[Query], candidates: Mapping[str, Sequence[Candidate]], work: Work
) -> tuple[list[Query], list[Candidate]]:
    """Queries with a right candidate, and all candidates of these."""

    def reason(query: Query) -> str | None:
        found = candidates[query.id]
        if any(each.passed for each in found):
            return None
        return "unscored" if pass_rate(found) is None else "never_passed"

    by_people = [
        "passed_by_people"
        for query in queries
        if never_right(candidates[query.id]) and any(each.passed for each in candidates[query.id])
    ]
    passed = work.funnel.sift("pass@N", "queries", queries, [reason(query) for query in queries], by_people)
    ids = {query.id for query in passed}
    everything = [each for query in queries for each in candidates[query.id]]
    lost = ["of_a_query_not_passed" if each.query.id not in ids else None for each in everything]
    return passed, work.funnel.sift("responses", "responses", everything, lost)


async def keep_good(
    candidates: Sequence[Candidate],
    config: ResponseFiltersConfig,
    held_out: HeldOut,
    asked: Sequence[str],
    work: Work,
) -> list[Candidate]:
    """What no rule, and where it is asked no judge, has a reason to drop."""
    reasons = response_reasons(candidates, config, held_out)
    kept = work.funnel.sift("responses by rules", "responses", candidates, reasons)
    for name in RESPONSE_QUESTIONS:
        verdicts, notes = await verdicts_of(kept, name, work.scorer, work.verdicts, asked)
        reasons = [reason_of(name, verdict) for verdict in verdicts]
        kept = work.funnel.sift(f"responses by judge, {name}", "responses", kept, reasons, notes)
    return kept


def keep_few(
    candidates: Sequence[Candidate], config: ChooseConfig, work: Work, stage: str = "conversations"
) -> list[Candidate]:
    return work.funnel.sift(stage, "responses", candidates, choose(candidates, config, work.seed))


async def select_pairs(queries: Sequence[Query], used: set[str], config: PairsConfig, work: Work) -> list[Pair]:
    """Pairs for RL by the report's four criteria: unused, learnable, as hard as possible, broad."""
    reasons = ["used_in_cold_start" if query.id in used else None for query in queries]
    unused = work.funnel.sift("pairs, unused", "queries", queries, reasons)
    answered, failures = await _answered(unused, config, "pairs", thinking=config.thinking, work=work)
    reasons, rates = pair_reasons(unused, answered, failures, config.max_rate)
    learnable = work.funnel.sift("pairs, learnable", "queries", unused, reasons)
    pairs, reasons = hardest([Pair(query, rates[query.id]) for query in learnable], config.num_pairs, work.seed)
    work.funnel.sift("pairs", "queries", learnable, reasons)
    return pairs
