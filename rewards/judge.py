"""The judge: a language model behind an OpenAI-compatible server, which sees the reference."""

import os
from typing import Any

from pydantic import Field

from rewards.calls import Call, JudgeCall, ModelFailure
from rewards.endpoint import Endpoint, EndpointConfig


class JudgeConfig(EndpointConfig):
    """Any OpenAI-compatible server. `extra` goes into the body of each call: a switch for a model's thinking, say."""

    max_tokens: int = Field(512, ge=1)
    extra: dict[str, Any] = Field(default_factory=dict)


def open_judge(config: JudgeConfig) -> Endpoint:
    """The judge's endpoint: greedy, its verdict in the schema that the call names."""
    import openai

    client = openai.AsyncOpenAI(
        base_url=config.url,
        api_key=os.environ.get(config.api_key_env, "none"),
        timeout=config.timeout_s,
        max_retries=config.max_retries,
    )

    async def post(call: Call) -> str:
        assert isinstance(call, JudgeCall), "the scorer sends each call to its own endpoint"
        verdict = {"name": "verdict", "schema": call.response_schema, "strict": True}
        try:
            answer: Any = await client.chat.completions.create(  # type: ignore[call-overload]
                model=config.model,
                messages=call.messages,
                temperature=0,
                max_tokens=config.max_tokens,
                response_format={"type": "json_schema", "json_schema": verdict},
                extra_body=config.extra or None,
            )
        except openai.APITimeoutError as error:
            raise ModelFailure("timeout", f"the judge did not answer within {config.timeout_s:g} s") from error
        except openai.APIError as error:
            raise ModelFailure("error", f"the judge: {type(error).__name__}: {error}"[:400]) from error
        if not answer.choices or not answer.choices[0].message.content:
            raise ModelFailure("error", "the judge answered without a text")
        return answer.choices[0].message.content

    return Endpoint("the judge", post, config)
