"""The numbers of an evaluation as a table that a person can read, with both errors in words."""

import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from rl.evals import EvalConfig
from rl.suites import find_suite
from rl.types import StepMetrics

WIDTH = 110  # where the output is no terminal


def print_evals(configs: Sequence[EvalConfig], metrics: StepMetrics) -> None:
    """A table a suite on standard output, then the numbers that hooks return."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    suites = [config for config in configs if config.hook is None]
    for config in suites:
        console.print(eval_table(config, metrics))
    prefixes = tuple(f"eval/{config.suite}/" for config in suites)
    for name, value in sorted(metrics.items()):
        if not name.startswith(prefixes):
            print(f"{name} {value:.6g}")


def eval_table(config: EvalConfig, metrics: StepMetrics) -> Table:
    """One suite: a row a number, a column a parser."""
    table = Table(title=_title(config), title_justify="left", title_style="bold", caption_justify="left")
    table.add_column("")
    for parser in config.extracts:
        table.add_column(parser, justify="right")
    for label, name, form in _rows(config):
        values = [metrics.get(f"{prefix}/{name}") for prefix in _prefixes(config)]
        if any(value is not None for value in values):
            table.add_row(label, *("–" if value is None else form.format(value) for value in values))
    table.caption = _caption(config, metrics)
    return table


def _prefixes(config: EvalConfig) -> list[str]:
    """Of the metrics of each parser: the first one's stand under the suite's name."""
    return [f"eval/{config.suite}", *(f"eval/{config.suite}/{parser}" for parser in config.extracts[1:])]


def _title(config: EvalConfig) -> str:
    sampling = config.sampling
    parts = [f"{config.mode or 'default'} mode", f"{config.samples_per_prompt} samples a question"]
    parts += [f"temperature {sampling.temperature:g}", f"up to {sampling.max_tokens} tokens"]
    if sampling.top_p < 1:
        parts.append(f"top-p {sampling.top_p:g}")
    if sampling.top_k > 0:
        parts.append(f"top-k {sampling.top_k}")
    if sampling.presence_penalty:
        parts.append(f"presence penalty {sampling.presence_penalty:g}")
    return f"{config.suite}: {', '.join(parts)}"


def _rows(config: EvalConfig) -> Iterator[tuple[str, str, str]]:
    """What is said, the metric's name without its prefix, and how its value is written."""
    k = config.samples_per_prompt
    yield f"average of {k} samples (avg@{k})", f"avg@{k}", "{:.4f}"
    yield "± question error: with other such questions", f"se@{k}", "{:.4f}"
    yield "± sampling error: with other samples of these questions", f"sampling_se@{k}", "{:.4f}"
    for p in config.pass_k:
        yield f"right at least once in {p} (pass@{p})", f"pass@{p}", "{:.4f}"
    yield f"most frequent answer of {k} right (cons@{k})", f"cons@{k}", "{:.4f}"
    yield f"share of all instructions followed (instruction_avg@{k})", f"instruction_avg@{k}", "{:.4f}"
    yield "± its question error", f"instruction_se@{k}", "{:.4f}"
    yield "samples without a score, left out", "error_rate", "{:.2%}"


def _caption(config: EvalConfig, metrics: StepMetrics) -> str:
    prefix = f"eval/{config.suite}"
    suite = find_suite(config.suite, config.source is not None)
    count = int(metrics[f"{prefix}/num_prompts"])
    whole = suite.num_rows if suite is not None else None
    part = f" of the suite's {whole}: a part, not its number" if whole is not None and count < whole else ""
    lines = [
        f"{count} question{'s' * (count != 1)}{part}",
        f"responses of {metrics[f'{prefix}/response_length']:.0f} tokens on average, "
        f"{metrics[f'{prefix}/truncated_rate']:.1%} of them cut off at {config.sampling.max_tokens}",
    ]
    if dropped := int(metrics[f"{prefix}/unscored_prompts"]):
        lines.append(f"{dropped} questions have no scored sample and are in no number")
    return "\n".join(lines)
