"""Curation (stage 1 data): queries to verified conversations for the cold start, and to pairs for reasoning RL."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rl.cluster import ray_session
from rl.curation.candidates import Candidate, pass_rate
from rl.curation.config import CurateConfig
from rl.curation.funnel import Funnel
from rl.curation.queries import Query, read_queries, reserve
from rl.curation.respondents import engine_roles
from rl.curation.review import apply_verdicts, write_review
from rl.curation.selection import conversation_row
from rl.curation.similarity import HeldOut
from rl.curation.work import (
    JudgingScorer,
    find_candidates,
    keep_capped,
    keep_few,
    keep_good,
    keep_hard,
    keep_judged,
    keep_passed,
    keep_verifiable,
    never_right,
    open_work,
    select_pairs,
)
from rl.files import write_rows
from rl.log import RunLog
from rl.ray_scorer import open_scorer
from rl.roles import reward_roles
from rl.types import StepMetrics


async def curate(config: CurateConfig, log: RunLog) -> None:
    """Run all stages; what models and people have answered before is not asked for again."""
    funnel = Funnel()
    pool = read_queries(config.queries, config.seed, funnel)  # before anything starts: a bad row is found in a second
    reserved, training, held_out = reserve(pool, config.validation, config.seed, funnel)
    roles = [*engine_roles(config.respondents.values()), *reward_roles(config.rewards, log.folder)]
    log.stage("starting Ray and the scorer")
    async with (
        ray_session(config.ray, roles, log.message),
        open_scorer(config.rewards, log.folder, on_cluster=config.ray.address is not None) as scorer,
    ):
        await make_data(config, log, scorer, funnel, reserved, training, held_out)


async def make_data(
    config: CurateConfig,
    log: RunLog,
    scorer: JudgingScorer,
    funnel: Funnel,
    reserved: list[Query],
    training: list[Query],
    held_out: HeldOut,
) -> None:
    """From the two sets of queries to the files in `data/` of the run folder."""
    data = log.folder / "data"
    with open_work(log.folder / "journal", scorer, funnel, log, config.seed) as work:
        validation = await keep_verifiable("validation", reserved, config.query_filters, work)
        queries = await keep_verifiable("queries", training, config.query_filters, work)
        queries = await keep_judged(queries, config.judge_questions, work)
        queries = await keep_hard(queries, config.query_filters.without_thinking, work)
        queries = keep_capped(queries, config.query_filters.domain_cap, work)
        data.mkdir(exist_ok=True)
        write_rows(data / "validation.jsonl", (query.row() for query in validation))
        write_rows(data / "queries.jsonl", (query.row() for query in queries))

        answered, candidates = await find_candidates(queries, config.candidates, work)
        candidates = apply_verdicts(config.review, data / "review.jsonl", candidates)
        write_review(data / "review.jsonl", for_people(answered, candidates), candidates)
        _, responses = keep_passed(answered, candidates, work)
        good = await keep_good(responses, config.response_filters, held_out, config.judge_questions, work)
        conversations = keep_few(good, config.choose, work)
        write_rows(data / "conversations.jsonl", map(conversation_row, conversations))

        if config.pairs is not None:
            used = {each.query.id for each in conversations}
            pairs = await select_pairs(queries, used, config.pairs, work)
            write_rows(data / "rl_prompts.jsonl", (pair.query.row() | {"pass_rate": pair.rate} for pair in pairs))
    if not conversations:
        log.message("nothing is left to learn from: the reasons are below")
    report(funnel, log, data, pass_metrics(candidates, config.candidates.num_samples))


def for_people(queries: Sequence[Query], candidates: Mapping[str, Sequence[Candidate]]) -> list[Query]:
    """Queries that the verifier lets none pass of, and those that people have spoken on."""
    return [
        query
        for query in queries
        if never_right(candidates[query.id]) or any(each.right is not None for each in candidates[query.id])
    ]


def pass_metrics(candidates: Mapping[str, Sequence[Candidate]], num_samples: int) -> StepMetrics:
    """Means over the queries of which a candidate could be judged, people's verdicts included."""
    rates = [rate for found in candidates.values() if (rate := pass_rate(found)) is not None]
    if not rates:
        return {}
    return {
        f"curate/pass@{num_samples}": sum(rate > 0 for rate in rates) / len(rates),
        "curate/pass_rate": sum(rates) / len(rates),
    }


def report(funnel: Funnel, log: RunLog, data: Path, figures: StepMetrics) -> None:
    funnel.write(data / "curation.json", {"figures": figures})
    log.message(funnel.table())
    log.truncate_after(0)  # the row of a run that was cut off, or that was resumed with verdicts
    log.write(0, funnel.metrics() | figures)
