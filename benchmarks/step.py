"""How fast a whole synchronous GRPO step is: against TRL's GRPOTrainer, and against its own parts alone.

One run measures all arms in turn, several times. SmolLM2-135M-Instruct, 8 prompts x 8 samples of up to 32 tokens;
every group has signal, so nothing is skipped. bfloat16 on both sides, or float32 on a machine that emulates it.
See `make bench`.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, which has a module called `rewards`

os.environ |= {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "TOKENIZERS_PARALLELISM": "false"}

NUM_PROMPTS, NUM_SAMPLES, MAX_TOKENS = 8, 8, 32
QUESTIONS = [
    f"What is {a} + {b}?" for a, b in ((12, 7), (35, 48), (9, 9), (81, 17), (24, 60), (5, 38), (66, 13), (70, 29))
]


def alternating(count: int) -> list[float]:
    """Scores that give every group signal."""
    return [float(number % 2) for number in range(count)]


def run_trl(pipe: Any, model: str, num_steps: int, micro_batch: int, precision: str) -> None:
    """TRL in a process of its own: a step at each word from the other end, answered with seconds and tokens."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(os.cpu_count() or 1)

    class Pacer(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            pipe.recv()
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds = time.perf_counter() - self.start
            tokens = trainer._metrics["train"]["completions/mean_length"][-1] * NUM_PROMPTS * NUM_SAMPLES
            pipe.send((seconds, tokens))

    settings = GRPOConfig(
        output_dir="/tmp/sharpen-benchmark-trl",
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=NUM_PROMPTS * NUM_SAMPLES // micro_batch,
        num_generations=NUM_SAMPLES,
        max_completion_length=MAX_TOKENS,
        max_steps=num_steps,
        learning_rate=1e-6,
        use_cpu=True,
        bf16=precision == "bfloat16",
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": precision},
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        shuffle_dataset=False,
    )
    rows = [{"prompt": [{"role": "user", "content": q}]} for q in QUESTIONS] * num_steps
    trainer = GRPOTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        reward_funcs=lambda completions, **_: alternating(len(completions)),
        callbacks=[Pacer()],
    )
    trainer.train()


@contextmanager
def trl_process(model: str, num_steps: int, micro_batch: int, precision: str) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_trl, args=(theirs, model, num_steps, micro_batch, precision), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join(30)


class AlternatingScorer:
    """Scores without judging: the benchmark is of everything else."""

    async def score(self, requests: list[Any]) -> list[Any]:
        from rewards.types import RewardResult

        return [RewardResult(score=score) for score in alternating(len(requests))]


class SharpenArm:
    """Our whole step, and its parts alone, on the same prompts and seeds."""

    def __init__(self, learner: Any, sampler: Any, policy: Any) -> None:
        from rl.advantages import make_advantage
        from rl.losses import LossConfig, make_policy_loss
        from rollout.types import Prompt, SamplingParams

        self.learner, self.sampler, self.policy = learner, sampler, policy
        self.advantage, self.loss = make_advantage("grpo"), make_policy_loss(LossConfig())
        self.sampling = SamplingParams(max_tokens=MAX_TOKENS)
        self.prompts = [
            Prompt(id=q, messages=({"role": "user", "content": q},), task="math", reference="0") for q in QUESTIONS
        ]
        self.version = 0

    async def sample(self, seed: int) -> list[Any]:
        from rl.judgement import make_collect_group
        from rl.prompts import Draw

        collect = make_collect_group(
            self.sampler, AlternatingScorer(), sampling=self.sampling, num_samples=NUM_SAMPLES, seed=seed
        )
        return list(await asyncio.gather(*(collect(Draw(n, prompt)) for n, prompt in enumerate(self.prompts))))

    async def step(self, seed: int) -> dict[str, float]:
        """The recipe's step: collect, advantages, pack, update, publish."""
        from rl.weight_sync import publish_weights

        start = time.perf_counter()
        groups = await self.sample(seed)
        sampled = time.perf_counter()
        batch = self.pack(groups)
        await self.learner.update(batch)
        learned = time.perf_counter()
        self.version += 1
        await publish_weights(self.learner, self.sampler, version=self.version)
        end = time.perf_counter()
        tokens = sum(sample.num_sampled for group in groups for sample in group.group.samples)
        return {
            "step_s": end - start,
            "collect_s": sampled - start,
            "learn_s": learned - sampled,
            "sync_s": end - learned,
            "tokens": tokens,
        }

    def pack(self, groups: list[Any]) -> Any:
        from rl.batch import PackingConfig, make_examples, pack

        return pack(make_examples(groups, self.advantage([g.scores for g in groups])), PackingConfig(), num_ranks=1)

    async def parts(self, seed: int) -> dict[str, float]:
        """vLLM alone on as many requests, then forward and backward of one rank alone on what it sampled."""
        start = time.perf_counter()
        groups = await self.sample(seed)
        generated = time.perf_counter()
        batch = self.pack(groups)
        begin = time.perf_counter()
        await asyncio.to_thread(self.forward_backward, batch)
        end = time.perf_counter()
        tokens = sum(sample.num_sampled for group in groups for sample in group.group.samples)
        return {"generate_s": generated - start, "forward_backward_s": end - begin, "tokens": tokens}

    def forward_backward(self, batch: Any) -> None:
        from rl.losses import LossInputs

        self.policy.zero_grad(set_to_none=True)
        for micro in batch.updates[0].micro_batches[0]:
            log_probs, _ = self.policy(*micro.model_inputs)
            inputs = LossInputs(
                learner_logprobs_N=log_probs,
                start_logprobs_N=log_probs.detach(),
                sampler_logprobs_N=micro.sampler_logprobs_N,
                advantages_N=micro.advantages_N,
                sequence_N=micro.sequence_N,
                length_S=micro.length_S,
            )
            self.loss(inputs, batch.updates[0].counts)[0].backward()


async def measure(repeats: int, micro_batch: int, with_trl: bool) -> dict[str, list[dict[str, float]]]:
    import torch

    from rl.cluster import RayConfig, open_sampler, ray_session
    from rl.learner import LearnerConfig, OptimizerConfig
    from rl.learner_group import open_learner
    from rl.losses import LossConfig
    from rl.models import resolve_model, stop_token_ids
    from rl.policy import load_policy
    from rl.weight_sync import publish_weights
    from rollout.engine import EngineConfig
    from rollout.precision import resolve_precision

    torch.set_num_threads(os.cpu_count() or 1)
    model = resolve_model("package:smollm2")
    precision = resolve_precision("auto")
    print(f"precision: {precision}", file=sys.stderr)
    learner_config = LearnerConfig(optimizer=OptimizerConfig(lr=1e-6))
    engine_config = EngineConfig(max_context_tokens=256)
    rows: dict[str, list[dict[str, float]]] = {"sharpen": [], "parts": [], "trl": []}
    async with (
        ray_session(RayConfig(), num_cpus=2),
        open_learner(model, learner_config, LossConfig(), temperature=1.0, seed=0) as learner,
        open_sampler(model, engine_config, stop_token_ids(model), 0) as sampler,
    ):
        arm = SharpenArm(learner, sampler, load_policy(model, dtype=getattr(torch, precision)))
        await publish_weights(learner, sampler, version=0)
        with trl_process(model, repeats + 1, micro_batch, precision) as trl:
            for turn in range(repeats + 1):  # the first turn warms every arm up and is dropped
                turns: dict[str, dict[str, float]] = {
                    "sharpen": await arm.step(turn),
                    "parts": await arm.parts(turn + 1000),
                }
                if with_trl:
                    trl.send("go")
                    if not await asyncio.to_thread(trl.poll, 900):
                        raise TimeoutError("TRL did not finish a step within 900 s")
                    seconds, tokens = trl.recv()
                    turns["trl"] = {"step_s": seconds, "tokens": tokens}
                for name, row in turns.items():
                    print(
                        f"turn {turn} {name}: { ({k: round(v, 2) for k, v in row.items()}) }",
                        file=sys.stderr,
                        flush=True,
                    )
                    if turn:
                        rows[name].append(row)
    return rows


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} (from {min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trl-micro-batch", type=int, default=16, help="TRL's per_device_train_batch_size")
    parser.add_argument("--without-trl", action="store_true")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.repeats, options.trl_micro_batch, not options.without_trl))
    speeds = [row["tokens"] / row["step_s"] for row in rows["sharpen"]]
    # Seconds a token on both sides: samples of another seed have another number of tokens.
    parts = [(row["generate_s"] + row["forward_backward_s"]) / row["tokens"] for row in rows["parts"]]
    times_parts = [1 / speed / part for speed, part in zip(speeds, parts, strict=True)]
    for name in ("collect_s", "learn_s", "sync_s"):
        print(f"Sharpen {name}: {spread([row[name] for row in rows['sharpen']])}")
    print(f"Sharpen: {spread(speeds)} sampled tokens/s over the whole step")
    print(f"step against its parts alone: {spread(times_parts)} times")
    result: dict[str, float | None] = {"times_trl": None, "times_parts": round(median(times_parts), 3)}
    if rows["trl"]:
        theirs = [row["tokens"] / row["step_s"] for row in rows["trl"]]
        times_trl = [a / b for a, b in zip(speeds, theirs, strict=True)]
        print(f"TRL: {spread(theirs)} sampled tokens/s over the whole step")
        print(f"Sharpen against TRL: {spread(times_trl)} times")
        result["times_trl"] = round(median(times_trl), 3)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
