"""The command `sharpen ui`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

DEFAULT_PORT = 8322
TOKEN_ENV = "SHARPEN_UI_TOKEN"
LAST_ANSWERS_S = 2  # for what is still being written when the page ends
MAX_CONNECTIONS = 64


def add_ui(commands: Any) -> None:
    """Add the command to those of `sharpen`."""
    ui = commands.add_parser("ui", help="a page over the runs of a folder, live")
    ui.add_argument("runs_dir", type=Path, help="the folder that holds run folders, or one of them")
    ui.add_argument("--host", default="127.0.0.1", help="this machine alone by default")
    ui.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}, 0 for any")
    ui.add_argument(
        "--token-env", metavar="NAME", help=f"the variable with the password (default {TOKEN_ENV}, if it is set)"
    )
    ui.add_argument("--no-auth", action="store_true", help="no password, even if other machines reach the address")
    ui.set_defaults(run=_ui)


def _ui(options: argparse.Namespace) -> int:
    return serve(options.runs_dir, options.host, options.port, read_token(options.token_env), no_auth=options.no_auth)


def read_token(name: str | None) -> str | None:
    """The password in the environment variable; None where none is asked for. Raises ValueError where it is empty."""
    token = os.environ.get(name or TOKEN_ENV) or None
    if name is not None and token is None:
        raise ValueError(f"--token-env: the environment variable {name} is not set")
    return token


def serve(root: Path, host: str, port: int, token: str | None, *, no_auth: bool = False) -> int:
    """Serve until a signal says otherwise. Raises ValueError for an address that others reach without a password."""
    import uvicorn

    from rewards.service_config import is_loopback
    from rewards.service_server import bind
    from rl.ui import make_app

    if not is_loopback(host) and token is None and not no_auth:
        raise ValueError(
            f"--host: {host} is open to other machines, and the page shows every prompt and response; name a password "
            "by --token-env, or pass --no-auth. From one machine, `ssh -L` needs neither"
        )
    app = make_app(root, host=host, token=None if no_auth else token)
    listener = bind(host, port)
    name = f"[{host}]" if ":" in host else host
    print(f"runs of {root} at http://{name}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0
