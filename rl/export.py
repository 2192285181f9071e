"""A checkpoint's weights as a Hugging Face model folder."""

import shutil
from pathlib import Path

from rl.checkpoint import complete_steps


def export_model(run_dir: Path, out: Path, step: int | None = None) -> int:
    """Copy the weights of a checkpoint (the newest by default) to `out`; answers with its step.

    Raises ValueError where there is no such checkpoint or `out` exists.
    """
    steps = complete_steps(run_dir / "checkpoints")
    if not steps:
        raise ValueError(f"{run_dir} has no complete checkpoint; set checkpoint.every_steps or checkpoint.at_end")
    step = steps[-1] if step is None else step
    if step not in steps:
        raise ValueError(f"{run_dir} has no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
    if out.exists():
        raise ValueError(f"{out} exists; export writes a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoint = run_dir / "checkpoints" / f"step-{step}"
    shutil.copytree(checkpoint / "model", partial)
    if (checkpoint / "adapter").is_dir():  # in a folder of its own: beside the weights it would be applied twice
        shutil.copytree(checkpoint / "adapter", partial / "adapter")
    partial.rename(out)
    return step
