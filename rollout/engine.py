"""One vLLM engine: token ids in, sampled token ids and log-probs out, weights replaceable in place."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rollout.budget import ThinkingBudget
from rollout.cpu_settings import cpu_arguments, prepare_cpu
from rollout.precision import Precision, resolve_precision
from rollout.processes import ProcessKey, own_processes
from rollout.types import FinishReason, SamplingParams
from rollout.weight_inbox import WeightInbox


class EngineConfig(BaseModel):
    """How the model is served. `cores` are CPU cores in vLLM's notation ("0-1"), by default all; GPUs ignore it.
    `dtype` auto is bfloat16 where the hardware computes in it, and float32 elsewhere.

    With `batch_invariant` the same prompt, seed and weights give the same tokens to the bit, whatever else runs: on
    GPUs by vLLM's batch-invariant kernels; on CPUs, where sums depend on the batch, slowly, one sequence at a time. An
    engine whose requests make no progress for `stall_timeout_s` is taken for stuck and replaced. With `thinking_budget`
    requests may have one; vLLM then uses its older model runner, the one that takes logits processors.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_engines: int = Field(1, ge=1)
    tensor_parallel_size: int = Field(1, ge=1)
    dtype: Precision = "auto"
    max_context_tokens: int = Field(2048, gt=0)
    max_num_sequences: int = Field(256, gt=0)
    enforce_eager: bool = True
    batch_invariant: bool = False
    thinking_budget: bool = False
    cores: str | None = None
    kv_cache_gib: int = Field(2, gt=0)
    gpu_memory_share: float = Field(0.85, gt=0, le=1)
    start_timeout_s: float = Field(600, gt=0)
    stall_timeout_s: float = Field(180, gt=0)


@dataclass(frozen=True, slots=True)
class Completion:
    """One response as the engine gives it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason


class Engine:
    """vLLM's `AsyncLLM` behind the few calls that rollout needs. Lives in a process of its own.

    `progress` counts what the engine did; a watcher that sees it stand still while requests wait knows that
    the engine is stuck. With `shared_gpus` it lives beside a learner, on those GPUs where there are some, and can
    sleep.
    """

    def __init__(
        self,
        model: str,
        config: EngineConfig,
        stop_token_ids: list[int],
        seed: int = 0,
        shared_gpus: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.stop_token_ids = stop_token_ids
        self.seed = seed
        self.shared_gpus = shared_gpus
        self.version = 0
        self.num_progress = 0
        self._next_request = 0
        self._llm: Any = None
        self._inbox: WeightInbox | None = None
        self._complete = asyncio.Event()  # cleared in sleep, and while weights are replaced
        self._complete.set()
        self._sleeps = False

    async def start(self) -> int:
        """Load the model and answer with the process id. Takes 15 to 30 s."""
        if self.shared_gpus:  # Ray has given them to the learner's ranks
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.shared_gpus)
        on_cpu = self._on_cpu()
        if on_cpu:
            prepare_cpu(self.config.cores, self.config.kv_cache_gib)
        elif self.config.batch_invariant:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import AsyncEngineArgs
        from vllm.config import WeightTransferConfig
        from vllm.v1.engine.async_llm import AsyncLLM

        from rollout import weight_receiver

        weight_receiver.register()
        arguments = AsyncEngineArgs(
            model=self.model,
            dtype=resolve_precision(self.config.dtype),
            seed=self.seed,
            tensor_parallel_size=self.config.tensor_parallel_size,
            max_model_len=self.config.max_context_tokens,
            enforce_eager=self.config.enforce_eager,
            gpu_memory_utilization=self.config.gpu_memory_share,
            enable_sleep_mode=self.shared_gpus is not None and not on_cpu,
            logprobs_mode="processed_logprobs",
            generation_config="vllm",
            weight_transfer_config=WeightTransferConfig(backend=weight_receiver.BACKEND),
            disable_log_stats=False,
            enable_log_requests=False,
            logits_processors=["rollout.budget_processor:BudgetProcessor"] if self.config.thinking_budget else None,
            **{"max_num_seqs": self.config.max_num_sequences, "enable_prefix_caching": True}
            | (self._cpu_arguments() if on_cpu else {}),
        )
        self._llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[self._make_stat_logger()])
        await self._llm.init_weight_transfer_engine(_init_request())
        return os.getpid()

    def _cpu_arguments(self) -> dict[str, Any]:
        return cpu_arguments(
            max_context_tokens=self.config.max_context_tokens,
            tensor_parallel_size=self.config.tensor_parallel_size,
            batch_invariant=self.config.batch_invariant,
        )

    @staticmethod
    def _on_cpu() -> bool:
        from vllm.platforms import current_platform

        return bool(current_platform.is_cpu())

    def _make_stat_logger(self) -> Any:
        from vllm.v1.metrics.loggers import StatLoggerBase

        engine = self

        class ProgressCounter(StatLoggerBase):
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(self, *args: Any, **kwargs: Any) -> None:
                engine.num_progress += 1

            def log_engine_initialized(self) -> None:
                pass

        return ProgressCounter

    async def processes(self) -> list[ProcessKey]:
        """All that this engine consists of."""
        return own_processes()

    async def progress(self) -> int:
        """Engine steps so far."""
        return self.num_progress

    async def generate(
        self,
        prompt_token_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        num_samples: int,
        seed: int,
        budget: ThinkingBudget | None = None,
    ) -> tuple[int, list[Completion]]:
        """Sample `num_samples` responses; answers with the version of the oldest weights that took part.

        The same seed, prompt and weights give the same tokens. Cache entries of other weights are never
        reused: the version salts the prefix cache.
        """
        from vllm import SamplingParams as VLLMSamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        await self._complete.wait()  # or its cache entries would be found under the version before
        version = self.version
        self._next_request += 1
        wanted = VLLMSamplingParams(
            n=num_samples,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            presence_penalty=params.presence_penalty,
            max_tokens=params.max_tokens,
            seed=seed,
            logprobs=0,
            stop_token_ids=self.stop_token_ids,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=budget.write() if budget else None,
        )
        prompt = TokensPrompt(prompt_token_ids=list(prompt_token_ids), cache_salt=f"v{version}")
        final = None
        async for output in self._llm.generate(prompt, wanted, request_id=f"r{self._next_request}"):
            final = output
        assert final is not None, "vLLM ended a request without an output"
        assert len(final.outputs) == num_samples, f"asked {num_samples} samples, got {len(final.outputs)}"
        return version, [_completion(output) for output in final.outputs]

    async def score(self, token_ids: tuple[int, ...]) -> list[float]:
        """Log-probs, in nats at temperature 1, of each token but the first, given those before it.

        The context has room for one token more, which vLLM generates and which is dropped.
        """
        from vllm import SamplingParams as VLLMSamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        await self._complete.wait()
        self._next_request += 1
        wanted = VLLMSamplingParams(max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY)
        prompt = TokensPrompt(prompt_token_ids=list(token_ids), cache_salt=f"v{self.version}")
        final = None
        async for output in self._llm.generate(prompt, wanted, request_id=f"r{self._next_request}"):
            final = output
        assert final is not None, "vLLM ended a request without an output"
        pairs = zip(token_ids[1:], final.prompt_logprobs[1:], strict=True)
        return [float(at_position[token].logprob) for token, at_position in pairs]

    async def sleep(self) -> None:
        """Finish the requests in flight, then give back cache and, on GPUs, weights; later requests wait.

        The next weight update ends it, and brings the weights.
        """
        self._complete.clear()
        await self._llm.sleep(level=2, mode="wait")
        self._sleeps = True

    async def begin_update(self) -> None:
        """Freeze the requests in flight, keep later ones waiting, and get ready for new weights."""
        self._complete.clear()
        if self._sleeps:
            await self._llm.wake_up(["weights"])
        await self._llm.pause_generation(mode="keep", clear_cache=False)
        await self._llm.start_weight_update()

    async def join_group(self, group: dict[str, Any]) -> None:
        """Have the workers join the group through which weights will come (see `rollout/weight_receiver.py`)."""
        await self._llm.init_weight_transfer_engine(_init_request(**group))

    async def load_bucket(self, bucket: dict[str, Any], payload: Any = None) -> None:
        """Load one bucket (see `rollout/weight_receiver.py`); `payload` has its bytes where its file is elsewhere."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        if payload is not None:
            self._inbox = self._inbox or WeightInbox()
            self._inbox.fill(payload)
            bucket = bucket | {"path": self._inbox.path}
        if bucket["path"]:
            _check_on_this_host(bucket["path"])
        await self._llm.update_weights(WeightTransferUpdateRequest(update_info=bucket))

    async def end_update(self, version: int) -> None:
        """The new weights are complete: later requests carry `version`, frozen ones go on."""
        await self._llm.finish_weight_update(weight_version=str(version))
        self.version = version
        if self._sleeps:
            await self._llm.wake_up(["kv_cache"])
            self._sleeps = False
        await self._llm.resume_generation()
        self._complete.set()

    async def stop(self) -> None:
        if self._llm is not None:
            self._llm.shutdown()


def _check_on_this_host(path: str) -> None:
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"weight bucket {path} is not here, though learner rank 0 is on this node: containers of one node must "
            "share /dev/shm"
        )


def _init_request(**group: Any) -> Any:
    from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

    return WeightTransferInitRequest(init_info=group)


def _completion(output: Any) -> Completion:
    token_ids = tuple(int(token) for token in output.token_ids)
    logprobs = tuple(
        float(at_position[token].logprob) for token, at_position in zip(token_ids, output.logprobs, strict=True)
    )
    assert output.finish_reason in ("stop", "length"), f"vLLM finished a sample with {output.finish_reason!r}"
    return Completion(token_ids, logprobs, output.text, output.finish_reason)
