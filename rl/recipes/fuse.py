"""Data for thinking-mode fusion (stage 3): what a model solved with thinking, what is solved without, and flags."""

from collections import Counter

from rl.cluster import ray_session
from rl.curation.checklists import keep_checked
from rl.curation.config import FuseConfig
from rl.curation.funnel import Funnel
from rl.curation.fusion import Solved, fuse, keep_unseen_conversations, of_candidate, of_direct, of_row
from rl.curation.queries import keep_unseen, read_held_out, read_queries
from rl.curation.respondents import engine_roles
from rl.curation.work import find_candidates, find_direct, keep_few, keep_good, keep_passed, open_work
from rl.files import write_rows
from rl.log import RunLog
from rl.ray_scorer import open_scorer
from rl.roles import reward_roles
from rl.row_stream import RowStream
from rl.types import StepMetrics


async def make_set(config: FuseConfig, log: RunLog) -> None:
    """Write `data/conversations.jsonl` for SFT; what models have answered before is not asked for again."""
    funnel = Funnel()
    held_out = read_held_out(config.held_out, config.similarity, config.seed)
    queries = keep_unseen(read_queries(config.queries, config.seed, funnel), held_out, funnel)  # before anything starts
    drawn = keep_unseen_conversations(draw_plain(config, funnel), held_out, funnel)
    log.stage("starting Ray and the scorer")
    roles = [*engine_roles(config.respondents.values()), *reward_roles(config.rewards, log.folder)]
    async with (
        ray_session(config.ray, roles, log.message),
        open_scorer(config.rewards, log.folder, on_cluster=config.ray.address is not None) as scorer,
    ):
        with open_work(log.folder / "journal", scorer, funnel, log, config.seed) as work:
            answered, candidates = await find_candidates(queries, config.thinking, work)
            _, responses = keep_passed(answered, candidates, work)
            good = await keep_good(responses, config.response_filters, held_out, [], work)
            thinking = [of_candidate(each) for each in keep_few(good, config.choose, work)]
            plain = await keep_checked(drawn, config.checklist, work)
            if config.without_thinking is not None:
                right = await find_direct(queries, config.without_thinking, held_out, work)
                few = keep_few(right, config.choose, work, "conversations without thinking")
                plain = [*plain, *map(of_direct, few)]
    rows = fuse(thinking, plain, config.flags, config.seed)
    if not rows:
        raise RuntimeError(f"nothing is left to fuse:\n{funnel.table()}")
    data = log.folder / "data"
    data.mkdir(exist_ok=True)
    write_rows(data / "conversations.jsonl", rows)
    figures = shares(rows)
    funnel.write(data / "fusion.json", {"figures": figures})
    log.message(funnel.table())
    log.truncate_after(0)
    log.write(0, funnel.metrics() | figures)


def draw_plain(config: FuseConfig, funnel: Funnel) -> list[Solved]:
    """Conversations without thinking, each once: a source that is too small for its weight gives all it has."""
    if not config.plain:
        return []
    stream = RowStream(config.plain, config.seed, of_row)
    found = [stream.draw()[1] for _ in range(config.num_plain)]
    first = {solved.id: number for number, solved in reversed(list(enumerate(found)))}
    reasons = [None if first[solved.id] == number else "duplicate" for number, solved in enumerate(found)]
    return funnel.sift("plain", "conversations", found, reasons)


def shares(rows: list[dict[str, object]]) -> StepMetrics:
    """How many rows of each mode, kind of flags and domain there are, as shares of all."""
    metrics = {"fuse/conversations": float(len(rows))}
    for field in ("mode", "flags", "domain"):
        counts = Counter(str(row[field]) for row in rows)
        metrics |= {f"fuse/{field}/{name}": count / len(rows) for name, count in sorted(counts.items())}
    return metrics | {"fuse/multi_turn": sum(row["num_turns"] != 1 for row in rows) / len(rows)}
