"""The preference reward model: a sequence classifier with one label behind vLLM's pooling runner."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from rewards.calls import Call, ModelFailure, PreferenceCall
from rewards.endpoint import Endpoint, EndpointConfig
from rewards.model_client import ModelClient


class PreferenceConfig(EndpointConfig):
    """A server of `vllm serve MODEL --runner pooling --convert classify`; `url` without the path of an API."""

    def vllm_arguments(self) -> list[str]:
        return ["--runner", "pooling", "--convert", "classify"]


class _Class(BaseModel):
    probs: Annotated[list[FiniteFloat], Field(min_length=1, max_length=1)]


class _Classification(BaseModel):
    """What is read of an answer: one logit; there may be more in it."""

    data: Annotated[list[_Class], Field(min_length=1, max_length=1)]


def open_preference(config: PreferenceConfig) -> Endpoint:
    """The model's endpoint: raw logits (an activation would press good answers together), by the model's own chat
    template, which the server applies."""
    client = ModelClient("the preference model", config)

    async def post(call: Call) -> float:
        assert isinstance(call, PreferenceCall), "the scorer sends each call to its own endpoint"
        body: dict[str, Any] = {"messages": call.messages, "use_activation": False}
        answer = await client.post("/classify", body | ({"model": config.model} if config.model else {}))
        try:
            return _Classification.model_validate(answer).data[0].probs[0]
        except ValidationError as error:
            reason = f"the preference model: one finite logit is wanted, got {answer!r:.200}"
            raise ModelFailure("error", reason) from error

    return Endpoint("the preference model", post, config, client.close)
