"""The judge: a language model behind an OpenAI-compatible server, which sees the reference."""

from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from rewards.calls import Call, JudgeCall, ModelFailure
from rewards.endpoint import Endpoint, EndpointConfig
from rewards.model_client import ModelClient


class JudgeConfig(EndpointConfig):
    """Any OpenAI-compatible server: `url` ends in `/v1`. `extra` goes into the body of each call: a switch for a
    model's thinking, say.

    With `canaries` the judge is tried at the start on items whose verdict is known. Where it accepts more than
    `max_canary_failures` of those that it must refuse, a warning is logged, or with `strict_canaries` the start fails.
    """

    max_tokens: int = Field(512, ge=1)
    extra: dict[str, Any] = Field(default_factory=dict)
    canaries: bool = True
    max_canary_failures: float = Field(0.34, ge=0, le=1)
    strict_canaries: bool = False

    @property
    def api_path(self) -> str:
        return "/v1"

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if not self.model:
            raise ValueError("model is missing: give the name under which the server knows the judge")
        return self


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """What is read of an answer; there may be more in it."""

    choices: list[_Choice] = Field(min_length=1)


def open_judge(config: JudgeConfig) -> Endpoint:
    """The judge's endpoint: greedy, its verdict in the schema that the call names."""
    client = ModelClient("the judge", config)

    async def post(call: Call) -> str:
        assert isinstance(call, JudgeCall), "the scorer sends each call to its own endpoint"
        verdict = {"name": "verdict", "schema": call.response_schema, "strict": True}
        body = {
            "model": config.model,
            "messages": call.messages,
            "temperature": 0,
            "max_tokens": config.max_tokens,
            "response_format": {"type": "json_schema", "json_schema": verdict},
        }
        answer = await client.post("/chat/completions", body | config.extra)
        try:
            return _Completion.model_validate(answer).choices[0].message.content
        except ValidationError as error:
            raise ModelFailure("error", f"the judge answered without a text: {answer!r:.200}") from error

    return Endpoint("the judge", post, config, client.close)
