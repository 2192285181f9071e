"""What a weight sync takes: as a share of the demo's step, and against a plain copy of its bytes.

One run measures both, in turns: the step of benchmarks/step.py (sample, learn, publish), a sync alone, and a copy of as
many bytes from one piece of memory to another, by one thread as in the learner and by all. Medians. Targets: below 2%
of the step, within 8 times the copy.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, which has a module called `rewards`

from benchmarks.step import SharpenArm, spread

os.environ |= {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "TOKENIZERS_PARALLELISM": "false"}


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Copier:
    """Copies of `num_bytes` between two pieces of memory that are there already."""

    def __init__(self, num_bytes: int) -> None:
        import torch

        self.source = torch.ones(num_bytes, dtype=torch.uint8)
        self.target = torch.zeros(num_bytes, dtype=torch.uint8)

    def copy(self, num_threads: int) -> float:
        import torch

        torch.set_num_threads(num_threads)
        return seconds(lambda: self.target.copy_(self.source))


async def num_weight_bytes(learner: Any) -> int:
    """Bytes of all buckets, whichever way they go."""
    (count, *_) = await asyncio.gather(*learner.group.num_buckets())
    buckets = [await asyncio.gather(*learner.group.write_bucket(index)) for index in range(count)]
    return sum(bucket["num_bytes"] for bucket, *_ in buckets)


async def sync_seconds(learner: Any, sampler: Any, version: int) -> float:
    """A sync alone: no request is in flight, and the learner has nothing else to do."""
    from rl.weight_sync import publish_weights

    start = time.perf_counter()
    await publish_weights(learner, sampler, version=version)
    return time.perf_counter() - start


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    from rl.cluster import RayConfig, open_sampler, ray_session
    from rl.learner import LearnerConfig, OptimizerConfig
    from rl.learner_group import open_learner
    from rl.losses import LossConfig
    from rl.models import resolve_model, stop_token_ids
    from rl.weight_sync import publish_weights
    from rollout.engine import EngineConfig

    model = resolve_model(options.model)
    transfer = {"bucket_mib": options.bucket_mib, "weight_transfer": options.transfer}
    config = LearnerConfig(optimizer=OptimizerConfig(lr=1e-6), **transfer)
    engine = EngineConfig(max_context_tokens=256)
    rows: list[dict[str, float]] = []
    async with (
        ray_session(RayConfig(), num_cpus=2),
        open_learner(model, config, LossConfig(), temperature=1.0, seed=0) as learner,
        open_sampler(model, engine, stop_token_ids(model), 0) as sampler,
    ):
        num_bytes = await num_weight_bytes(learner)
        arm, copier = SharpenArm(learner, sampler, None), Copier(num_bytes)
        await publish_weights(learner, sampler, version=0)
        for turn in range(options.repeats + 1):  # the first turn warms up and is dropped
            row = {f"step/{name}": value for name, value in (await arm.step(turn)).items()}
            for _ in range(options.syncs):
                arm.version += 1
                alone = {"sync_s": await sync_seconds(learner, sampler, arm.version)}
                copies = {"copy_s": copier.copy(1), "copy_all_threads_s": copier.copy(os.cpu_count() or 1)}
                if turn:
                    rows.append(row | alone | copies)
            print(f"turn {turn}: { ({k: round(v, 4) for k, v in (row | alone | copies).items()}) }", file=sys.stderr)
    return {"bytes": num_bytes, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--syncs", type=int, default=5, help="alone, after each step")
    parser.add_argument("--model", default="package:smollm2")
    parser.add_argument("--bucket-mib", type=int, default=64)
    parser.add_argument("--transfer", choices=("host", "broadcast"), default="host")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    measured = asyncio.run(measure(options))
    rows = measured["rows"]
    shares = [row["step/sync_s"] / row["step/step_s"] for row in rows]
    ratios = [row["sync_s"] / row["copy_s"] for row in rows]
    print(f"{measured['bytes'] / 1e6:.0f} MB; of a step of {spread([row['step/step_s'] for row in rows])} s")
    for name in ("sync_s", "copy_s", "copy_all_threads_s"):
        values = [1000 * row[name] for row in rows]
        print(f"{name.removesuffix('_s')}: {spread(values)} ms")
    print(f"sync: {median(shares):.2%} of the step ({min(shares):.2%} to {max(shares):.2%}); target 2%")
    print(f"sync against a plain copy by one thread: {spread(ratios)} times; target 8")
    if options.json:
        print(json.dumps({"share": round(median(shares), 4), "times_copy": round(median(ratios), 2)}))


if __name__ == "__main__":
    main()
