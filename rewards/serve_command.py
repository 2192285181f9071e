"""The command `sharpen rewards serve`."""

import argparse
import os
from typing import Any

from pydantic import ValidationError

from rewards.scorer_options import read_scorer_config
from rewards.service_config import DEFAULT_TOKEN_ENV, ServiceConfig

DEFAULT_PORT = 8321


def add_serve(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Add the command to those of `sharpen rewards`."""
    serve = commands.add_parser("serve", parents=parents, help="the HTTP service")
    serve.add_argument("--host", default="127.0.0.1", help="this machine alone by default")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}, 0 for any")
    serve.add_argument(
        "--token-env", metavar="NAME", help=f"the variable with the token (default {DEFAULT_TOKEN_ENV}, if it is set)"
    )
    serve.add_argument("--no-auth", action="store_true", help="no token, even if other machines reach the address")
    serve.add_argument("--protect-metrics", action="store_true", help="ask for the token at /metrics, too")
    serve.add_argument("--memory-mib", type=int, metavar="MIB", help="memory that a worker may add")
    serve.add_argument("--max-request-mib", type=float, metavar="MIB", help="size of a body")
    serve.add_argument("--max-batch", type=int, metavar="N", help="requests in a body")
    serve.add_argument("--max-queue", type=int, metavar="N", help="requests that wait or are judged at once")
    serve.add_argument("--max-queue-mib", type=float, metavar="MIB", help="size of all their bodies")
    serve.add_argument("--remember", type=int, metavar="N", help="ids whose results are kept, 0 for none")
    serve.add_argument("--drain-timeout", type=float, metavar="S", dest="drain_timeout_s", help="seconds to finish in")
    serve.add_argument("--quiet", action="store_true", help="no line of log a result")
    serve.add_argument("--ray", action="store_true", help="under Ray Serve, with replicas that come and go by load")
    serve.add_argument("--replicas", type=int, default=4, metavar="N", help="with --ray: at most (default 4)")
    serve.add_argument("--min-replicas", type=int, default=1, metavar="N", help="with --ray: at least (default 1)")
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    config = read_config(options)
    if options.ray:
        from rewards.ray_service import serve_on_ray

        return serve_on_ray(
            config,
            options.host,
            options.port,
            min_replicas=options.min_replicas,
            max_replicas=options.replicas,
            no_auth=options.no_auth,
        )
    from rewards.service_server import serve

    return serve(config, options.host, options.port, no_auth=options.no_auth)


def read_config(options: argparse.Namespace) -> ServiceConfig:
    """The configuration that the options make. Raises ValueError, by the option's name."""
    token_env = options.token_env
    if token_env is None and os.environ.get(DEFAULT_TOKEN_ENV):
        token_env = DEFAULT_TOKEN_ENV
    if options.no_auth:
        if options.token_env is not None:
            raise ValueError("--no-auth: there is a --token-env; leave one of them out")
        token_env = None
    named = ("max_request_mib", "max_batch", "max_queue", "max_queue_mib", "remember", "drain_timeout_s")
    given = {name: getattr(options, name) for name in named if getattr(options, name) is not None}
    if "max_queue" in given:
        given.setdefault("max_batch", min(given["max_queue"], ServiceConfig().max_batch))
        given.setdefault("remember", max(given["max_queue"], ServiceConfig().remember))
    if "max_request_mib" in given:
        given.setdefault("max_queue_mib", max(given["max_request_mib"], ServiceConfig().max_queue_mib))
    more = {} if options.memory_mib is None else {"memory_mib": options.memory_mib}
    try:
        return ServiceConfig(
            scorer=read_scorer_config(options, **more),
            token_env=token_env,
            protect_metrics=options.protect_metrics,
            log_results=not options.quiet,
            **given,
        )
    except ValidationError as error:
        options_of = {"num_workers": "workers", "timeout_s": "timeout", "drain_timeout_s": "drain-timeout"}
        first = error.errors()[0]
        name = str(first["loc"][-1]) if first["loc"] else ""
        option = f"--{options_of.get(name, name).replace('_', '-')}: " if name else ""
        raise ValueError(f"{option}{first['msg']}") from error
