"""Who answers queries: a model on engines of ours, a server, a file of responses made elsewhere, or a function."""

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rewards.calls import ModelFailure
from rewards.endpoint import EndpointConfig
from rewards.model_client import ModelClient
from rewards.response import in_open_block
from rl.cluster import open_sampler
from rl.curation.queries import Query
from rl.files import read_lines
from rl.judgement import GroupSampler
from rl.models import resolve_model, stop_token_ids
from rl.placement import Role
from rl.plugins import check_name, find_function
from rl.roles import engine_role
from rl.seeds import derive_seed
from rollout.engine import EngineConfig
from rollout.sampler import EngineLost
from rollout.types import SamplingParams

# {"text": ..., "finish_reason": "stop" or "length"}, and "think_block" (rollout.types.ThinkBlock) where that is known
Response = dict[str, Any]


class ServerConfig(EndpointConfig):
    """An OpenAI-compatible server; `extra` goes into each body. How a mode is asked for is `thinking_field`: the
    template's `enable_thinking` under that field, as vLLM and SGLang take it, or null to leave it to the model."""

    timeout_s: float = Field(1800, gt=0)
    extra: dict[str, Any] = Field(default_factory=dict)
    thinking_field: str | None = "chat_template_kwargs"

    @model_validator(mode="after")
    def _is_there_already(self) -> Self:
        if self.serve or not self.model:
            raise ValueError("give url and model of a running server; to start one for this, use `model` in its place")
        return self


class RespondentConfig(BaseModel):
    """Exactly one of `model` (on our engines), `endpoint`, `path` and `generator`.

    `path`: JSON lines with `query_id` or `question`, and `response` or `responses`. `generator`: `module:function`,
    called as `function(rng, prompt, **options)` for each response.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    endpoint: ServerConfig | None = None
    path: str | None = None
    generator: str | None = None
    options: dict[str, Any] = {}
    engine: EngineConfig = EngineConfig()
    sampling: SamplingParams = SamplingParams()
    num_samples: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("model", "endpoint", "path", "generator") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of model, endpoint, path, generator; got {given or 'none'}")
        if self.generator is not None:
            check_name(self.generator, {}, "generator")
        return self


class Unanswered(Exception):
    """No response to a query; `reason` is counted. With `is_outage` the respondent itself may be gone."""

    def __init__(self, reason: str, detail: str, *, is_outage: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.is_outage = reason, is_outage


class Respondent(Protocol):
    async def respond(self, query: Query, seed: int) -> list[Response]:
        """Responses with their thinking. Raises Unanswered."""
        ...


@asynccontextmanager
async def open_respondent(config: RespondentConfig, *, thinking: bool, seed: int) -> AsyncIterator[Respondent]:
    """A respondent that lives as long as it is needed; engines want a Ray session around it."""
    if config.model is not None:
        model = resolve_model(config.model)
        async with open_sampler(model, config.engine, stop_token_ids(model), seed) as sampler:
            yield SamplerRespondent(sampler, config, thinking=thinking)
    elif config.endpoint is not None:
        client = ModelClient("the endpoint of candidates", config.endpoint)
        try:
            yield ServerRespondent(client, config.endpoint, config, thinking=thinking)
        finally:
            await client.close()
    elif config.path is not None:
        yield FileRespondent(Path(config.path), config.num_samples)
    else:
        yield GeneratorRespondent(config)


class SamplerRespondent:
    """A model on engines of ours."""

    def __init__(self, sampler: GroupSampler, config: RespondentConfig, *, thinking: bool) -> None:
        self.sampler, self.config, self.thinking = sampler, config, thinking

    async def respond(self, query: Query, seed: int) -> list[Response]:
        prompt = dataclasses.replace(query.prompt, thinking=self.thinking)
        params, count = self.config.sampling, self.config.num_samples
        try:
            group = await self.sampler.sample(prompt, params=params, num_samples=count, seed=seed)
        except ValueError as error:  # the one that the sampler raises: it does not fit into the context
            raise Unanswered("too_long", str(error)) from error
        except EngineLost as error:
            raise Unanswered("no_answer", str(error), is_outage=True) from error
        is_open, block = group.think_block == "open", group.think_block
        return [
            {
                "text": in_open_block(sample.text) if is_open else sample.text,
                "finish_reason": sample.finish_reason,
                "think_block": "none" if is_open else block,
            }
            for sample in group.samples
        ]


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What is read of an answer; there may be more in it."""

    choices: list[_Choice] = Field(min_length=1)


class ServerRespondent:
    """A model behind a server; one request a response, each with its own seed."""

    def __init__(self, client: ModelClient, server: ServerConfig, config: RespondentConfig, *, thinking: bool) -> None:
        self.client, self.server, self.config, self.thinking = client, server, config, thinking
        self._slots = asyncio.Semaphore(server.max_concurrent)

    async def respond(self, query: Query, seed: int) -> list[Response]:
        seeds = [derive_seed(seed, number) % 2**31 for number in range(self.config.num_samples)]
        answers = await asyncio.gather(*(self._one(query, each) for each in seeds), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, dict)]

    async def _one(self, query: Query, seed: int) -> Response:
        sampling = self.config.sampling
        body: dict[str, Any] = {
            "model": self.server.model,
            "messages": [dict(message) for message in query.prompt.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed,
        }
        usual = {"top_k": -1, "min_p": 0, "presence_penalty": 0}  # not every server knows them: said where they matter
        body |= {name: getattr(sampling, name) for name in usual if getattr(sampling, name) != usual[name]}
        if self.server.thinking_field is not None:
            body[self.server.thinking_field] = {"enable_thinking": self.thinking}
        try:
            async with self._slots:
                answer = await self.client.post("/chat/completions", body | self.server.extra)
            choice = _Completion.model_validate(answer).choices[0]
        except ModelFailure as failure:
            raise Unanswered("no_answer", str(failure), is_outage=True) from failure
        except ValidationError as error:
            raise Unanswered("no_answer", f"an answer without a text: {error}"[:300], is_outage=True) from error
        message = choice.message
        thinking = message.reasoning_content or message.reasoning  # of servers that take the answer apart
        text = message.content or ""
        response = {
            "text": f"<think>\n{thinking}\n</think>\n\n{text}" if thinking else text,
            "finish_reason": "length" if choice.finish_reason == "length" else "stop",
        }
        # The server's prompt is not seen: without thinking, a response is the answer alone (see `direct_reason`).
        return response if self.thinking or thinking else response | {"think_block": "closed"}


class FileRespondent:
    """Responses that were made elsewhere, the first `num_samples` of each query."""

    def __init__(self, path: Path, num_samples: int) -> None:
        self.num_samples = num_samples
        self._by_key: dict[str, list[str]] = {}
        for where, row in read_lines(path, "candidates.path"):
            key = row.get("query_id") or row.get("question")
            texts = row.get("responses", [row.get("response")])
            if not isinstance(key, str) or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
                raise ValueError(f"{where}: query_id or question, and a text response or texts responses are wanted")
            self._by_key.setdefault(key, []).extend(texts)

    async def respond(self, query: Query, seed: int) -> list[Response]:
        texts = self._by_key.get(query.id) or self._by_key.get(query.text)
        if not texts:
            raise Unanswered("no_answer", "the file has none")
        return [{"text": text, "finish_reason": "stop"} for text in texts[: self.num_samples]]


class GeneratorRespondent:
    """A function: scripted worked solutions, say."""

    def __init__(self, config: RespondentConfig) -> None:
        self.config = config
        self._function: Callable[..., str] = find_function(str(config.generator), {}, "generator")

    async def respond(self, query: Query, seed: int) -> list[Response]:
        texts = [
            self._function(random.Random(derive_seed(seed, number)), query.prompt, **self.config.options)
            for number in range(self.config.num_samples)
        ]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"generator {self.config.generator}: it must return a text, got {json.dumps(texts)[:100]}")
        return [{"text": text, "finish_reason": "stop"} for text in texts]


def engine_roles(configs: Iterable[RespondentConfig]) -> list[Role]:
    """Room for the engines of the largest respondent: they take turns."""
    asked = [(config.engine, config.model) for config in configs if config.model is not None]
    roles = [engine_role(engine, resolve_model(model)) for engine, model in asked]
    paths = tuple(dict.fromkeys(path for role in roles for path in role.paths))
    if not roles:
        return []
    return [
        Role(
            kind="engine",
            name="engine",
            count=max(role.count for role in roles),
            gpus=max(role.gpus for role in roles),
            paths=paths,
        )
    ]
