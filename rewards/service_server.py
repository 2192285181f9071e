"""The reward service under uvicorn, on one machine."""

import signal
import socket
import time
from types import FrameType

import uvicorn

from rewards.service import Service, make_app
from rewards.service_config import ServiceConfig, is_loopback
from rewards.service_log import log_event, open_log

LAST_ANSWERS_S = 5  # for what is still being written when the server stops


class DrainingServer(uvicorn.Server):
    """Told to end, it takes no more work and says so, finishes what is under way within a limit, and stops.

    A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self._drain_until_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain_until_s is not None:
            self.should_exit = self.force_exit = True
            return
        self.service.queue.is_open = False
        self._drain_until_s = time.monotonic() + self.service.config.drain_timeout_s
        log_event("draining", signal=signal.Signals(sig).name, in_flight=self.service.queue.num_open)

    async def on_tick(self, counter: int) -> bool:
        if self._drain_until_s is not None:
            is_idle = self.service.queue.num_open == 0 and self.service.metrics.num_http == 0
            if is_idle or time.monotonic() > self._drain_until_s:
                return True
        return await super().on_tick(counter)


def serve(config: ServiceConfig, host: str, port: int, *, no_auth: bool = False) -> int:
    """Serve until a signal says otherwise. Raises ValueError for an address that others reach without a token."""
    check_address(config, host, no_auth=no_auth)
    server = make_server(config)
    listener = bind(host, port)
    open_log()
    name = f"[{host}]" if ":" in host else host
    needs_token = config.token_env is not None
    log_event("serving", url=f"http://{name}:{listener.getsockname()[1]}", needs_token=needs_token)
    server.run(sockets=[listener])
    log_event("stopped")
    return 0


def make_server(config: ServiceConfig) -> DrainingServer:
    """The server of a new app, which is not yet listening."""
    app = make_app(config)
    settings = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=LAST_ANSWERS_S
    )
    return DrainingServer(settings, app.state.service)


def check_address(config: ServiceConfig, host: str, *, no_auth: bool) -> None:
    """Raises ValueError for an address that other machines reach, where nobody asks for a token."""
    if not is_loopback(host) and config.token_env is None and not no_auth:
        raise ValueError(f"--host: {host} is open to other machines; name a token by --token-env, or pass --no-auth")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ValueError where the address cannot be had."""
    if not 0 <= port < 2**16:
        raise ValueError(f"--port: {port} is not from 0 to {2**16 - 1}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ValueError(f"--host, --port: cannot listen on {host}:{port}: {error}") from error
