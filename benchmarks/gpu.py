"""What a GPU shows and a CPU cannot: the learner's step, chunked log-probs, packed attention, bfloat16, weight sync.

One line of JSON a measurement, with the device's name; medians over `--repeats` after a warm-up. It stops with a
message where there is no GPU. Weights go through the host's memory, or with two GPUs or more by `--transfer broadcast`;
the plain copy over the bus beside it is what nothing through the host's memory can beat. The learner's attention takes
a mask, which flash kernels refuse: `attention` says what that costs against causal flash attention on one sequence a
row.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, which has a module called `rewards`

Result = dict[str, Any]
GIB = 2**30


def check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("error: benchmarks/gpu.py needs a GPU, and torch sees none")


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of a call, and the most memory (GiB) that all of them held beyond what was there."""
    import torch

    function()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times), (torch.cuda.max_memory_allocated() - before) / GIB


def backward(function: Callable[[], Any]) -> None:
    function().sum().backward()


def log_probs(options: argparse.Namespace) -> Result:
    """Forward and backward of the output head: in chunks, and with all logits at once."""
    import torch

    from rl.policy import ChunkedLogProbs

    count, width, vocab = options.tokens, 1024, 151_936
    hidden = torch.randn(count, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = (torch.randn(vocab, width, device="cuda") / width**0.5).to(torch.bfloat16).requires_grad_()
    target = torch.randint(vocab, (count,), device="cuda")

    def chunked() -> torch.Tensor:
        return ChunkedLogProbs.apply(hidden, weight, target, 1.0, 512)[0]

    def whole() -> torch.Tensor:
        return torch.log_softmax((hidden @ weight.T).float(), -1).gather(-1, target[:, None]).squeeze(-1)

    difference = (chunked() - whole()).abs().max().item()
    found: Result = {"tokens": count, "vocab": vocab, "largest_difference_nats": difference}
    for name, function in (("chunked", chunked), ("whole", whole)):
        seconds, gib = timed(partial(backward, function), options.repeats)
        found |= {f"{name}_s": seconds, f"{name}_gib": gib}
    return found


def attention(options: argparse.Namespace) -> Result:
    """One row of packed sequences under the learner's mask, against the same sequences one by one under flash."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    from rl.policy import visibility

    num, length, heads, width = 8, options.tokens // 8, 16, 128
    shape = 1, heads, num * length, width
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    group = torch.arange(num, device="cuda").repeat_interleave(length)[None]
    mask = visibility(group, torch.ones_like(group))

    def packed() -> torch.Tensor:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def flash() -> torch.Tensor:
        qs, ks, vs = (x.view(heads, num, length, width).transpose(0, 1) for x in (q, k, v))
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out = scaled_dot_product_attention(qs, ks, vs, is_causal=True)
        return out.transpose(0, 1).reshape(shape)

    found: Result = {"sequences": num, "tokens_each": length}
    found["largest_difference"] = (packed() - flash()).abs().max().item()
    for name, function in (("packed", packed), ("flash", flash)):
        seconds, gib = timed(partial(backward, function), options.repeats)
        found |= {f"{name}_s": seconds, f"{name}_gib": gib}
    return found


def step(options: argparse.Namespace) -> Result:
    return asyncio.run(_step(options))


async def _step(options: argparse.Namespace) -> Result:
    """Whole steps on the real parts: tokens a second of the learner, mismatch of engine and learner, weight sync."""
    from benchmarks.step import SharpenArm
    from benchmarks.sync import num_weight_bytes, sync_seconds
    from rl.cluster import RayConfig, open_sampler, ray_session
    from rl.learner import LearnerConfig
    from rl.learner_group import open_learner
    from rl.losses import LossConfig
    from rl.models import resolve_model, stop_token_ids
    from rl.weight_sync import publish_weights
    from rollout.engine import EngineConfig

    model = resolve_model(options.model)
    engine = EngineConfig(max_context_tokens=1024, gpu_memory_share=options.engine_share)
    learner_config = LearnerConfig(weight_transfer=options.transfer)
    async with (
        ray_session(RayConfig(), num_cpus=4),
        open_learner(model, learner_config, LossConfig(), temperature=1.0, seed=0) as learner,
        open_sampler(model, engine, stop_token_ids(model), 0) as sampler,
    ):
        num_bytes = await num_weight_bytes(learner)
        await publish_weights(learner, sampler, version=0)
        arm, learn, mismatch, sync = SharpenArm(learner, sampler, None), [], [], []
        for turn in range(options.repeats + 1):
            batch = arm.pack(await arm.sample(turn))
            start = time.perf_counter()
            metrics = await learner.update(batch)
            seconds = time.perf_counter() - start
            moved = await sync_seconds(learner, sampler, turn + 1)
            if turn:
                learn.append(batch.packing["pack/trained_tokens"] / seconds)
                mismatch.append(metrics["loss/mismatch_kl"])
                sync.append(moved)
    return {
        "learner_tokens_per_s": median(learn),
        "mismatch_kl": median(mismatch),
        "sync_s": median(sync),
        "sync_bytes": num_bytes,
        "bus_copy_s": bus_copy_s(num_bytes, options.repeats),
    }


def bus_copy_s(num_bytes: int, repeats: int) -> float:
    """Down to the host's memory and up again, pinned."""
    import torch

    on_gpu = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
    on_host = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    return timed(lambda: (on_host.copy_(on_gpu), on_gpu.copy_(on_host)), repeats)[0]


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "log_probs": log_probs,
    "attention": attention,
    "step": step,
}


def measure(name: str, options: argparse.Namespace) -> Result:
    import torch

    found = MEASUREMENTS[name](options)
    return {"measured": name, "device": torch.cuda.get_device_name(), "torch": torch.__version__} | found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(MEASUREMENTS)}; by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--model", default="package:smollm2")
    parser.add_argument("--engine-share", type=float, default=0.3, help="of the GPU's memory, beside the learner")
    parser.add_argument("--transfer", choices=("host", "broadcast"), default="host", help="of weights")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - set(MEASUREMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(MEASUREMENTS)}")
    return options


def main() -> None:
    options = parse()
    check_gpu()
    for name in options.what or MEASUREMENTS:
        print(json.dumps(measure(name, options)), flush=True)


if __name__ == "__main__":
    main()
