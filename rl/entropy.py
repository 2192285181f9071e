"""The entropy bonus, with a coefficient that is fixed or follows the measured entropy (Skywork-OR1, 2505.22312)."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EntropyConfig(BaseModel):
    """The loss is lowered by `coefficient` × entropy. Entropies are means over tokens, in nats.

    With `adaptive`, `coefficient` is where the controller starts; it moves by `delta` a step between 0 and `max`
    to hold the entropy at `target`. The defaults are those of Skywork-OR1's released script.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    coefficient: float = Field(default=0.0, ge=0)
    adaptive: bool = False
    target: float = Field(default=0.2, ge=0)
    delta: float = Field(default=1e-4, gt=0)
    max: float = Field(default=5e-3, gt=0)

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.adaptive and self.coefficient > self.max:
            raise ValueError(f"loss.entropy.coefficient is {self.coefficient}, above loss.entropy.max {self.max}")
        return self

    @property
    def is_used(self) -> bool:
        """Whether the loss ever has an entropy term."""
        return self.adaptive or self.coefficient > 0


def next_entropy_coefficient(coefficient: float, measured: float, config: EntropyConfig) -> float:
    """The controller's state after a step whose entropy was `measured`; the caller keeps it, and saves it."""
    if not config.adaptive:
        return coefficient
    moved = coefficient + (config.delta if measured <= config.target else -config.delta)
    return min(max(moved, 0.0), config.max)


def applied_entropy_coefficient(coefficient: float, measured: float, config: EntropyConfig) -> float:
    """What multiplies the entropy in the loss: the state, but 0 while the last `measured` is above the target."""
    return coefficient if not config.adaptive or measured <= config.target else 0.0
