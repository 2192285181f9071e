"""Selection of pairs for RL after the cold start: what the model can learn, as hard as possible, and broad."""

from rl.cluster import ray_session
from rl.curation.config import SelectConfig
from rl.curation.funnel import Funnel
from rl.curation.queries import keep_unseen, read_held_out, read_queries
from rl.curation.respondents import engine_roles
from rl.curation.selection import used_queries
from rl.curation.work import open_work, select_pairs
from rl.files import write_rows
from rl.log import RunLog
from rl.ray_scorer import open_scorer
from rl.roles import reward_roles


async def select(config: SelectConfig, log: RunLog) -> None:
    """Ask the model for its pass rates, and write `rl_prompts.jsonl`; what was answered before is kept."""
    funnel = Funnel()
    held_out = read_held_out(config.held_out, config.similarity, config.seed)
    queries = keep_unseen(read_queries(config.queries, config.seed, funnel), held_out, funnel)
    used = used_queries(config.exclude)
    data = log.folder / "data"
    roles = [*engine_roles(config.respondents.values()), *reward_roles(config.rewards, log.folder)]
    async with (
        ray_session(config.ray, roles, log.message),
        open_scorer(config.rewards, log.folder, on_cluster=config.ray.address is not None) as scorer,
    ):
        with open_work(log.folder / "journal", scorer, funnel, log, config.seed) as work:
            pairs = await select_pairs(queries, used, config.pairs, work)
    data.mkdir(exist_ok=True)
    write_rows(data / "rl_prompts.jsonl", (pair.query.row() | {"pass_rate": pair.rate} for pair in pairs))
    funnel.write(data / "curation.json", {"figures": {}})
    log.message(funnel.table())
    log.truncate_after(0)
    log.write(0, funnel.metrics())
