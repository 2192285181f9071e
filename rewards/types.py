"""The wire format of the reward service: what is asked, and what is answered."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Message = dict[str, Any]
Status = Literal["ok", "error", "timeout", "unscorable"]


class RewardRequest(BaseModel):
    """One response to judge. `response` is the raw completion with its thinking, or a multi-turn interaction."""

    model_config = ConfigDict(extra="forbid")

    task: str
    question: str | list[Message] = ""
    response: str | list[Message]
    reference: Any = None
    params: dict[str, Any] = Field(default_factory=dict)
    id: str | None = None


class RewardResult(BaseModel):
    """A judgement. `score` is null exactly when `status` is not "ok": our failure is never a wrong answer."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    score: FiniteFloat | None
    status: Status = "ok"
    components: dict[str, FiniteFloat] = Field(default_factory=dict)
    extracted: str | None = None
    reason: str = ""
    verifier: str = ""
    version: str = ""
    ms: float = 0.0

    @model_validator(mode="after")
    def _null_exactly_on_failure(self) -> "RewardResult":
        if (self.score is None) != (self.status != "ok"):
            raise ValueError(f"score is null exactly when status is not ok; got {self.score!r} with {self.status!r}")
        return self
