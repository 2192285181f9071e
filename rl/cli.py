"""The `sharpen` command."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; user errors are one message and exit code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except ValueError as error:
        print(f"sharpen: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sharpen", description="Post-train reasoning language models with GRPO.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a recipe from a config", description="Run the recipe a config names.")
    run.add_argument("config", help="a YAML file, or a config that ships with the package")
    run.add_argument("overrides", nargs="*", metavar="key.path=value")
    run.add_argument("--resume", metavar="RUN_DIR", type=Path, help="go on in this folder from its newest checkpoint")
    run.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    from rl.launch import launch

    return launch(options.config, options.overrides, options.resume)


if __name__ == "__main__":
    sys.exit(main())
