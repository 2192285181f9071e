"""The preference reward model: a sequence classifier with one label behind vLLM's pooling runner."""

import os
from typing import Any

from rewards.calls import Call, ModelFailure, PreferenceCall
from rewards.endpoint import Endpoint, EndpointConfig


class PreferenceConfig(EndpointConfig):
    """A server of `vllm serve MODEL --runner pooling --convert classify`; `url` without the path of an API."""


def open_preference(config: PreferenceConfig) -> Endpoint:
    """The model's endpoint: raw logits (an activation would press good answers together), by the model's own chat
    template, which the server applies."""
    import httpx
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

    key = os.environ.get(config.api_key_env)
    client = httpx.AsyncClient(
        base_url=config.url,
        timeout=config.timeout_s,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        limits=httpx.Limits(max_connections=config.max_concurrent),
    )
    retrying = AsyncRetrying(
        stop=stop_after_attempt(config.max_retries + 1),
        wait=wait_exponential_jitter(initial=0.5, max=8),
        retry=retry_if_exception_type((httpx.TransportError, ServerBusy)),
        reraise=True,
    )

    async def post(call: Call) -> float:
        assert isinstance(call, PreferenceCall), "the scorer sends each call to its own endpoint"
        body = {"model": config.model, "messages": call.messages, "use_activation": False}
        try:
            response: Any = await retrying(_classify, client, body)
        except httpx.TimeoutException as error:
            reason = f"the preference model did not answer within {config.timeout_s:g} s"
            raise ModelFailure("timeout", reason) from error
        except (httpx.HTTPError, ServerBusy) as error:
            raise ModelFailure("error", f"the preference model: {type(error).__name__}: {error}"[:400]) from error
        return _logit(response)

    return Endpoint("the preference model", post, config)


class ServerBusy(Exception):
    """An answer of status 429 or 5xx: worth another attempt."""


async def _classify(client: "httpx.AsyncClient", body: dict) -> "httpx.Response":  # type: ignore[name-defined]  # noqa: F821
    response = await client.post("/classify", json=body)
    if response.status_code == 429 or response.status_code >= 500:
        raise ServerBusy(f"status {response.status_code}: {response.text[:200]}")
    response.raise_for_status()
    return response


def _logit(response: "httpx.Response") -> float:  # type: ignore[name-defined]  # noqa: F821
    try:
        (logit,) = response.json()["data"][0]["probs"]
        return float(logit)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        text = response.text[:200]
        raise ModelFailure("error", f"the preference model: one logit is wanted, got {text!r}") from error
