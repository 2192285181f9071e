"""The models that tasks may ask, each behind its endpoint."""

import asyncio

from pydantic import BaseModel, ConfigDict

from rewards.calls import Call, ModelFailure, Reply
from rewards.endpoint import Endpoint, EndpointConfig
from rewards.judge import JudgeConfig, open_judge
from rewards.preference import PreferenceConfig, open_preference

MAX_CALLS = 64  # for one response


class ModelsConfig(BaseModel):
    """Which models there are; a task that asks another one gets no score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: JudgeConfig | None = None
    preference: PreferenceConfig | None = None

    @property
    def models(self) -> dict[str, EndpointConfig]:
        """The models that there are, by the kind of their calls."""
        return {name: model for name in ("judge", "preference") if (model := getattr(self, name)) is not None}


class Models:
    """Answers calls from the first of them until `stop`. Used within one event loop.

    Raises ValueError where a model is to be served, but has no server yet.
    """

    def __init__(self, config: ModelsConfig) -> None:
        for name, each in config.models.items():
            if not each.url:
                raise ValueError(f"rewards.{name}.serve: a scorer starts no server; set rewards.{name}.url")
        self.endpoints: dict[str, Endpoint] = {}
        if config.judge is not None:
            self.endpoints["judge"] = open_judge(config.judge)
        if config.preference is not None:
            self.endpoints["preference"] = open_preference(config.preference)

    async def answer(self, calls: list[Call]) -> list[Reply]:
        """One reply a call, asked for at once. Raises the first ModelFailure; what else was asked is still kept."""
        if len(calls) > MAX_CALLS:
            raise ModelFailure("error", f"the task makes {len(calls)} calls, more than {MAX_CALLS}")
        for call in calls:
            if call.kind not in self.endpoints:
                raise ModelFailure("error", f"the task asks a {call.kind} model: set rewards.{call.kind}.url")
        return list(await asyncio.gather(*(self.endpoints[call.kind].answer(call) for call in calls)))

    def forget(self, calls: list[Call], replies: list[Reply]) -> None:
        """Ask these calls anew next time, where the replies are still kept."""
        for call, reply in zip(calls, replies, strict=True):
            self.endpoints[call.kind].forget(call, reply)

    async def stop(self) -> None:
        """Cancel the calls under way and close all connections."""
        await asyncio.gather(*(endpoint.stop() for endpoint in self.endpoints.values()))
