"""Stages in order, each a `sharpen run` in a process of its own; what is complete is skipped, the rest goes on."""

from rl.log import RunLog, read_metrics
from rl.pipeline_config import PipelineConfig
from rl.pipeline_report import build_pipeline_report
from rl.progress import duration
from rl.stage_run import relay_signals, run_stage
from rl.stages import locked, make_stages


async def run(config: PipelineConfig, log: RunLog) -> None:
    """Run to the last stage, or to a signal, which the stage under way gets too and saves."""
    with relay_signals() as relay:
        async with locked(log.folder, log.message) as lock:
            for stage in make_stages(config, log.folder):
                if stage.marker() is not None:
                    log.message(f"{stage.title}: complete")
                    continue
                if relay.stopping or not await run_stage(stage, log, relay, lock):
                    log.message(f"stopped; go on with: sharpen run CONFIG.yaml --resume {log.folder}")
                    return
                total_s = sum(row["time/step_s"] for row in read_metrics(log.folder))
                log.message(f"{stage.title}: complete, {duration(total_s)} so far")
                build_pipeline_report(log.folder)
