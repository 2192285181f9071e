"""A model that Sharpen serves for a run: `vllm serve`, started again where it dies."""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rollout.model_server import LOOPBACK, ModelServer, ServerFailed, vllm_server
from rollout.precision import resolve_precision

MAX_RESTARTS = 3
WATCH_S = 2.0
# Few requests at once and a small cache: on a CPU the server shares cores and memory with the run.
CPU_ARGUMENTS = ("--max-num-seqs", "16", "--enforce-eager")
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1"}

log = logging.getLogger(__name__)


class ServedModel:
    """`vllm serve` of a model under the name `served_name`, at one URL from `start` to `stop`.

    `arguments` are vLLM's. A server that dies is started again at its port, `MAX_RESTARTS` times; calls fail meanwhile.
    `host` None is this node's own address, for scorers on others. The server wants the key `api_key`, if there is one.
    """

    def __init__(
        self,
        model: str,
        served_name: str,
        arguments: Sequence[str],
        *,
        log_file: Path,
        start_timeout_s: float,
        host: str | None = LOOPBACK,
        api_key: str | None = None,
    ) -> None:
        self.num_restarts = 0
        self._model, self._log_file, self._start_timeout_s = model, log_file, start_timeout_s
        self._host = host or socket.gethostbyname(socket.gethostname())
        self._arguments, self._environment = ["--served-model-name", served_name], {"VLLM_NO_USAGE_STATS": "1"}
        if _on_cpu():
            self._arguments += [*CPU_ARGUMENTS, "--dtype", resolve_precision("auto")]
            self._environment |= CPU_ENVIRONMENT | {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
        self._arguments += arguments
        if api_key:
            self._environment["VLLM_API_KEY"] = api_key
        self._server = self._make_server(None)
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Answers with the server's URL when it is up. Raises ServerFailed."""
        try:
            await self._server.start()
        except BaseException:
            await self._server.stop()
            raise
        self._watch = asyncio.create_task(self._keep_alive())
        return self._server.url

    async def stop(self) -> None:
        """End the server."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._server.stop()

    def _make_server(self, port: int | None) -> ModelServer:
        return vllm_server(
            self._model,
            self._arguments,
            host=self._host,
            port=port,
            log_file=self._log_file,
            start_timeout_s=self._start_timeout_s,
            environment=self._environment,
        )

    async def _keep_alive(self) -> None:
        while self.num_restarts < MAX_RESTARTS:
            await asyncio.sleep(WATCH_S)
            if self._server.alive:
                continue
            self.num_restarts += 1
            log.warning("%s has died and is started again; its log is %s", self._server.name, self._log_file)
            await self._server.stop()
            self._server = self._make_server(self._server.port)
            try:
                await self._server.start()
            except ServerFailed as error:
                log.error("%s", error)


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())
