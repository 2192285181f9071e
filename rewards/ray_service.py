"""The reward service under Ray Serve: replicas of the same app on the machines of a cluster, as the load asks."""

import os
import signal
import threading
from contextlib import nullcontext
from typing import Any

from rewards.ray_loopback import keep_token_private, loopback_alone
from rewards.service_config import ServiceConfig
from rewards.service_log import log_event, open_log
from rewards.service_server import check_address

NAME = "sharpen-rewards"
BUSY = 64  # HTTP requests under way a replica, beyond which another one is started


def make_application(config: ServiceConfig, *, min_replicas: int, max_replicas: int) -> Any:
    """A Serve application. Its replicas have `config.scorer.num_workers` CPUs each, and start their own workers.

    An id is remembered by the replica that judged it, so a retry may be judged again; results are the same by design.
    """
    from ray import serve

    def build() -> Any:
        from rewards.service import make_app

        open_log()
        return make_app(config, serve.get_replica_context().replica_id.unique_id)

    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": config.scorer.num_workers},
        max_ongoing_requests=max(2 * BUSY, config.max_queue // 8),
        autoscaling_config={
            "min_replicas": min_replicas,
            "max_replicas": max_replicas,
            "target_ongoing_requests": BUSY,
        },
        graceful_shutdown_timeout_s=config.drain_timeout_s,
        health_check_period_s=10,
        health_check_timeout_s=30,
    )
    return deployment(serve.ingress(build)()).bind()


def serve_on_ray(
    config: ServiceConfig, host: str, port: int, *, min_replicas: int, max_replicas: int, no_auth: bool
) -> int:
    """Serve on the cluster of RAY_ADDRESS, or one of this machine's, until a signal says otherwise."""
    check_address(config, host, no_auth=no_auth)
    if max_replicas < 1:
        raise ValueError(f"--replicas: {max_replicas} is below 1")
    if not 1 <= min_replicas <= max_replicas:
        raise ValueError(f"--min-replicas: {min_replicas} is not between 1 and --replicas, {max_replicas}")
    config.read_token()
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise ValueError(f"--ray: Ray Serve cannot be imported ({error}); pip install 'ray[serve]'") from error
    application = make_application(config, min_replicas=min_replicas, max_replicas=max_replicas)
    ended = threading.Event()
    open_log()
    is_ours = not os.environ.get("RAY_ADDRESS")
    if is_ours:
        keep_token_private()
    with loopback_alone() if is_ours else nullcontext():  # HTTP has an address of its own
        ray.init(ignore_reinit_error=True, log_to_driver=True)
        serve.start(http_options={"host": host, "port": port})
        try:
            serve.run(application, name=NAME, route_prefix="/")
            for number in (signal.SIGTERM, signal.SIGINT):  # now, since Ray has put handlers of its own there
                signal.signal(number, lambda *_: ended.set())
            log_event("serving", url=f"http://{host}:{port}", min_replicas=min_replicas, max_replicas=max_replicas)
            ended.wait()
            log_event("draining")
        finally:
            serve.shutdown()
            ray.shutdown()
    return 0
