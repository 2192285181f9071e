"""The stream of prompts: mixed by weight, the same for the same seed, and exact over a resume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rl.mixture import Mixture
from rl.seeds import derive_seed
from rl.sources import Source, SourceConfig
from rollout.types import Prompt


class PromptsConfig(BaseModel):
    """One or more sources, drawn from in proportion to their weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: list[SourceConfig] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Draw:
    """A prompt and its position in the stream."""

    index: int
    prompt: Prompt


class PromptStream:
    """Draw k is a function of the config, the seed and k. Draws are settled when learned or rejected; after a
    resume those that were under way are drawn again, in their order, before new ones."""

    def __init__(self, config: PromptsConfig, seed: int) -> None:
        self.sources = [Source(source, derive_seed(seed, "source", n)) for n, source in enumerate(config.sources)]
        self._mixture = Mixture([source.weight for source in config.sources], seed)
        self._low = 0  # every draw below is settled
        self._settled: set[int] = set()  # settled draws above
        self._again: list[int] = []
        self._next = 0

    def draw(self) -> Draw:
        """The next prompt."""
        if self._again:
            index = self._again.pop(0)
        else:
            index = self._next
            self._next += 1
        source, position = self._mixture.locate(index)
        return Draw(index, self.sources[source].prompt(position))

    def mark_learned(self, draws: Sequence[int]) -> None:
        """These draws have been learned from and will not come back."""
        for index in draws:
            self._settle(index)

    def mark_rejected(self, index: int) -> None:
        """This draw was sampled and dropped, and will not come back."""
        self._settle(index)

    def _settle(self, index: int) -> None:
        assert self._low <= index < self._next, f"draw {index} was never made or is settled already"
        assert index not in self._settled, f"draw {index} is settled already"
        self._settled.add(index)
        while self._low in self._settled:
            self._settled.remove(self._low)
            self._low += 1

    def state(self) -> dict[str, Any]:
        return {"low": self._low, "settled": sorted(self._settled), "next": self._next}

    def load(self, state: dict[str, Any]) -> None:
        self._low, self._settled, self._next = state["low"], set(state["settled"]), state["next"]
        self._again = [index for index in range(self._low, self._next) if index not in self._settled]
