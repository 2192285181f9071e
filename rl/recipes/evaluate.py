"""Evaluation of a model on a suite, as a run of its own: the same code as the evaluations during training."""

from rl.cluster import open_sampler, ray_session
from rl.config import EvaluateConfig
from rl.context import fit_context
from rl.evals import Evals, read_suites
from rl.log import RunLog
from rl.model_files import check_same_model
from rl.models import resolve_model, stop_token_ids
from rl.ray_scorer import open_scorer
from rl.roles import engine_role, reward_roles
from rl.types import StepMetrics


async def evaluate(config: EvaluateConfig, log: RunLog) -> StepMetrics:
    """The metrics of all suites; every response is written into the run folder."""
    model = resolve_model(config.model)
    prompts = read_suites(config.evals)  # before the engines: a bad row is found in a second
    engine = fit_context(config.engine, model, config.evals, prompts)
    check_same_model(log.folder, model)
    (log.folder / "metrics.jsonl").unlink(missing_ok=True)  # its one row is made anew, from responses that are kept
    log.stage("starting the engines and the scorer")
    roles = [engine_role(engine, model), *reward_roles(config.rewards, log.folder)]
    async with (
        ray_session(config.ray, roles, log.message),
        open_scorer(config.rewards, log.folder, on_cluster=config.ray.address is not None) as scorer,
        open_sampler(model, engine, stop_token_ids(model), config.seed) as sampler,
    ):
        evals = Evals(config.evals, sampler, scorer, log, seed=config.seed, num_steps=0, prompts=prompts, goes_on=True)
        metrics = await evals.run_if_first(0)
        log.write(0, metrics)
        return metrics
