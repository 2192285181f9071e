"""How many engines and learner GPUs, which staleness, and what step time: by simulation (benchmarks/simulation.py).

`--from RUN_DIR` takes part times and lengths from a run with `max_staleness` 0, and says what other staleness would
give; with `--against RUN_DIR` it predicts that run and prints its error. `--model NAME --gpus N` states part times
from the model's shape and the GPU's data sheet and tries every split. See docs/scaling.md.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, which has a module called `rewards`

from benchmarks.part_times import (
    Hardware,
    Lengths,
    least_ranks,
    measured_step_s,
    measured_times,
    read_run,
    room_for_sequences,
    run_scenario,
    stated_times,
)
from benchmarks.simulation import Scenario, simulate
from rl.architecture import find_architecture
from rl.waits import bound_of

SPLITS = 8  # the engines' share is tried in eighths
NEAR = 1.05  # of the shortest step: as good, if it is less stale


def outcome(scenario: Scenario) -> dict[str, Any]:
    """What a scenario comes to."""
    row = simulate(scenario)
    return {
        "max_staleness": scenario.max_staleness,
        "step_s": round(row["time/step_s"], 3),
        "tokens_per_s": round(row["rollout/tokens"] / row["time/step_s"], 1),
        "collect_s": round(row["time/collect_s"], 3),
        "learn_s": round(row["time/learn_s"], 3),
        "sync_s": round(row["time/sync_s"], 3),
        "head_of_line_s": round(row["time/head_of_line_s"], 3),
        "engines_busy": round(row["throughput/engines_busy"], 3),
        "bound": bound_of([row], scenario.max_staleness),
    }


def from_run(folder: Path, stalenesses: list[int]) -> dict[str, Any]:
    run = read_run(folder)
    times = measured_times(run)
    predicted = [outcome(run_scenario(run, times, max_staleness=steps)) for steps in stalenesses]
    return {"part_times": asdict(times), "measured_step_s": round(measured_step_s(run), 3), "predicted": predicted}


def against(folder: Path, other: Path) -> dict[str, Any]:
    """The error of the prediction of `other`, whose lengths and layout are its own, by the part times of `folder`."""
    run = read_run(other)
    predicted = outcome(run_scenario(run, measured_times(read_run(folder))))
    measured = measured_step_s(run)
    error = predicted["step_s"] / measured - 1
    return {"predicted": predicted, "measured_step_s": round(measured, 3), "error": round(error, 3)}


def plan(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every split of the GPUs that fits, with every staleness; the shortest step first."""
    model, gpu = find_architecture(options.model), Hardware(memory_gib=options.gpu_gib)
    lengths = Lengths(mean=options.length_mean, sigma=options.length_sigma, longest=options.length_max)
    context = options.prompt_tokens + options.length_mean / 2  # of a sequence while it grows, on average
    room = room_for_sequences(model, gpu, tensor_parallel=options.tensor_parallel, mean_context=context)
    found = []
    for engines in sorted({options.gpus * n // SPLITS // options.tensor_parallel for n in range(1, SPLITS)}):
        ranks = options.gpus - engines * options.tensor_parallel
        if not engines or not room or ranks < least_ranks(model, gpu):
            continue
        times = stated_times(
            model,
            gpu,
            tensor_parallel=options.tensor_parallel,
            num_ranks=ranks,
            mean_context=context,
            judge_s=options.judge_s,
        )
        for steps in options.staleness:
            scenario = Scenario(
                times=times,
                draw_length=lengths.draw,
                groups_per_step=options.groups,
                samples_per_prompt=options.samples,
                max_staleness=steps,
                look_ahead=options.look_ahead,
                reject_rate=options.reject_rate,
                num_engines=engines,
                max_num_sequences=min(room, options.max_num_sequences),
                num_judges=options.judges,
                num_steps=options.steps,
                num_warmup=options.steps // 3,
            )
            found.append({"engines": engines, "ranks": ranks} | outcome(scenario))
    if not found:
        raise ValueError(
            f"{options.model} does not fit {options.gpus} GPUs of {options.gpu_gib} GiB with tensor_parallel "
            f"{options.tensor_parallel}: the learner needs {least_ranks(model, gpu)} of them"
        )
    return sorted(found, key=lambda row: row["step_s"])


def advice(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the splits that are nearly as fast as the fastest, the least stale."""
    return min(rows, key=lambda row: (row["step_s"] > NEAR * rows[0]["step_s"], row["max_staleness"], row["step_s"]))


def show(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="run", type=Path, help="a run folder with max_staleness 0")
    what.add_argument("--model", help="a name that Sharpen knows, such as Qwen/Qwen3-8B")
    parser.add_argument("--against", type=Path, help="another run folder, to be predicted")
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--gpus", type=int, default=16)
    parser.add_argument("--gpu-gib", type=float, default=80)
    parser.add_argument("--tensor-parallel", type=int, default=1, help="GPUs an engine")
    parser.add_argument("--groups", type=int, default=128)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--length-mean", type=float, default=6000)
    parser.add_argument("--length-sigma", type=float, default=0.9)
    parser.add_argument("--length-max", type=int, default=32768)
    parser.add_argument("--reject-rate", type=float, default=0.0, help="groups that a filter drops")
    parser.add_argument("--look-ahead", type=int, default=0)
    parser.add_argument("--max-num-sequences", type=int, default=256, help="of an engine")
    parser.add_argument("--judge-s", type=float, default=0.02, help="a response")
    parser.add_argument("--judges", type=int, default=64, help="responses judged at once")
    parser.add_argument("--steps", type=int, default=24, help="simulated; the first third is not counted")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    if options.against and not options.run:
        parser.error("--against needs --from")
    return options


def main() -> None:
    options = parse()
    result: Any
    try:
        if options.against:
            result = against(options.run, options.against)
            show([result["predicted"]])
            print(f"measured {result['measured_step_s']} s a step: the prediction is off by {result['error']:+.1%}")
        elif options.run:
            result = from_run(options.run, options.staleness)
            print({name: round(value, 6) for name, value in result["part_times"].items()})
            show(result["predicted"])
            print(f"measured {result['measured_step_s']} s a step; engines and learner are taken not to share cores")
        else:
            result = plan(options)
            show(result)
            best = advice(result)
            print(
                f"take {best['engines']} engines, {best['ranks']} learner GPUs and max_staleness "
                f"{best['max_staleness']}: {best['step_s']:.0f} s a step, bound by {best['bound']}"
            )
    except ValueError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
