"""What a task asks of a model: made by a pure function in a worker, answered by a client, read by another one."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from rewards.types import Message

Reply = str | float


class JudgeCall(BaseModel):
    """A question to the judge, whose reply is a JSON text of this schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["judge"] = "judge"
    messages: list[Message]
    response_schema: dict[str, Any]
    prompt_version: str = "1"


class PreferenceCall(BaseModel):
    """A conversation that ends in the response, without its thinking; the reply is the reward model's raw logit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["preference"] = "preference"
    messages: list[Message]


Call = JudgeCall | PreferenceCall
CALLS: TypeAdapter[list[Call]] = TypeAdapter(list[Annotated[Call, Field(discriminator="kind")]])


class ModelFailure(Exception):
    """A model gave no reply: our failure, never a wrong answer."""

    def __init__(self, status: Literal["error", "timeout"], reason: str) -> None:
        super().__init__(reason)
        self.status: Literal["error", "timeout"] = status

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """For its way between processes."""
        return type(self), (self.status, str(self))


class Unavailable(ModelFailure):
    """Nothing came back from the server: worth another attempt after `wait_s`, and a sign that it is down."""

    def __init__(self, status: Literal["error", "timeout"], reason: str, wait_s: float = 0.0) -> None:
        super().__init__(status, reason)
        self.wait_s = wait_s
