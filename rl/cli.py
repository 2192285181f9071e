"""The `sharpen` command."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rewards.cli import add_commands as add_reward_commands
from rl.faults import RunStopped
from rl.ui_command import add_ui


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; user errors are one message and exit code 2, what ended a run one and 1."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse takes no more of a list of arguments after an option such as --resume.
    if rest and (not hasattr(options, "overrides") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    try:
        return options.run(options) or 0
    except (ValueError, ChildProcessError, RunStopped) as error:
        print(f"sharpen: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sharpen", description="Post-train reasoning language models with GRPO.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a recipe from a config", description="Run the recipe a config names.")
    run.add_argument("config", help="a YAML file, or a config that ships with the package")
    run.add_argument("overrides", nargs="*", metavar="key.path=value")
    run.add_argument("--resume", metavar="RUN_DIR", type=Path, help="go on in this folder from its newest checkpoint")
    run.set_defaults(run=_run)
    _add_eval(commands)
    report = commands.add_parser("report", help="write RUN_DIR/report.html")
    report.add_argument("run_dir", type=Path)
    report.set_defaults(run=_report)
    add_ui(commands)
    export = commands.add_parser("export", help="a checkpoint as a Hugging Face model folder")
    export.add_argument("run_dir", type=Path)
    export.add_argument("out", type=Path)
    export.add_argument("--step", type=int, help="the newest by default")
    export.set_defaults(run=_export)
    doctor = commands.add_parser("doctor", help="what this machine can run, and what a config needs")
    doctor.add_argument("config", nargs="?")
    doctor.add_argument("overrides", nargs="*", metavar="key.path=value")
    doctor.set_defaults(run=_doctor)
    add_reward_commands(commands)
    return parser


def _add_eval(commands: Any) -> None:
    evaluate = commands.add_parser("eval", help="evaluate a model on suites")
    evaluate.add_argument("--model", required=True, help="package:smollm2, a hub id or a folder")
    evaluate.add_argument(
        "--suite",
        required=True,
        help="aime24, aime25, math500, gsm8k, gpqa, ifeval, arithmetic, calculations, bookkeeping, or a .jsonl or "
        ".parquet file of prompts; "
        "several by comma",
    )
    evaluate.add_argument("--mode", choices=["thinking", "non-thinking"], help="Qwen3's settings of that mode")
    evaluate.add_argument("--samples", type=int, metavar="K", help="samples a question (default: the suite's, or 4)")
    evaluate.add_argument("--max-tokens", type=int, metavar="N", help="of a response (default: the suite's)")
    evaluate.add_argument("--data", metavar="FILE", help="a local file of the suite's fields, instead of the hub")
    evaluate.add_argument("--budgets", metavar="N,N", help="once under each thinking budget, in tokens: 64,128")
    evaluate.add_argument("--resume", metavar="RUN_DIR", type=Path, help="go on in this folder with what it has")
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="write the metrics as JSON")
    evaluate.add_argument(
        "--lm-eval-out",
        type=Path,
        metavar="DIR",
        help="where results go in lm-evaluation-harness's layout (default: lm_eval in the run folder)",
    )
    evaluate.add_argument("overrides", nargs="*", metavar="key.path=value", help="such as engine.dtype=float32")
    evaluate.set_defaults(run=_eval)


def _run(options: argparse.Namespace) -> int:
    from rl.launch import launch

    return launch(options.config, options.overrides, options.resume)


def _eval(options: argparse.Namespace) -> int:
    from rl.budget_curve import parse_budgets
    from rl.launch import launch_eval

    budgets = parse_budgets(options.budgets) if options.budgets else []
    return launch_eval(
        options.model,
        options.suite,
        options.overrides,
        mode=options.mode,
        samples=options.samples,
        max_tokens=options.max_tokens,
        budgets=budgets,
        data=options.data,
        out=options.out,
        lm_eval_out=options.lm_eval_out,
        resume=options.resume,
    )


def _report(options: argparse.Namespace) -> int:
    from rl.launch import write_report

    print(write_report(options.run_dir))
    return 0


def _export(options: argparse.Namespace) -> int:
    from rl.export import export_model

    step = export_model(options.run_dir, options.out, options.step)
    print(f"step {step} of {options.run_dir} is now {options.out}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from rl import doctor
    from rl.config_file import find_config, load_config

    findings = list(doctor.examine_machine())
    if options.config:
        findings += doctor.examine_config(load_config(find_config(options.config), options.overrides))
    width = max(len(finding.name) for finding in findings) + 2
    for finding in findings:
        value = finding.value.replace("\n", "\n" + " " * (width + 2))
        print(f"{'!' if finding.problem else ' '} {finding.name:<{width}}{value}")
        if finding.problem:
            print(f"{'':{width + 2}}{finding.problem}")
    return int(any(finding.problem for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
