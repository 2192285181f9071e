"""Rows to learn from, mixed by weight: the same for the same seed, and exact over a resume."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.mixture import Epochs, Mixture
from rl.plugins import check_name, find_function
from rl.rows import parse_row, read_rows
from rl.seeds import derive_seed
from rl.types import Example, StepMetrics

MAX_SKIPS = 1000  # rows in a row that are too long

Item = TypeVar("Item")
Parse = Callable[[Mapping[str, Any], str], Item]  # a row, and the words for its place


class RowSourceConfig(BaseModel):
    """Rows from a `path` (JSON lines or parquet), a Hugging Face `dataset` or a `generator`, with a weight.

    The generator is `module:function`, called as `function(rng, **options)` for each row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    dataset: str | None = None
    generator: str | None = None
    options: dict[str, Any] = {}
    name: str | None = None
    split: str = "train"
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    limit: int | None = Field(None, gt=0)
    shuffle: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("path", "dataset", "generator") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, dataset, generator; got {given or 'none'}")
        if self.generator is not None:
            check_name(self.generator, {}, "generator")
        return self

    @property
    def label(self) -> str:
        return str(self.path or self.dataset or self.generator)


class RowSource(Generic[Item]):
    """The items of one source by position: files and datasets repeat in epochs, generators never end."""

    def __init__(self, config: RowSourceConfig, parse: Parse[Item], seed: int) -> None:
        self.config, self.parse, self.seed = config, parse, seed
        if config.generator is None:
            self._items = read_items(config, parse)
            self._epochs = Epochs(len(self._items), config.label, seed, shuffle=config.shuffle)
        else:
            self._make: Callable[..., Mapping[str, Any]] = find_function(config.generator, {}, "generator")

    @property
    def num_rows(self) -> int | None:
        """Different rows; None where there is no end of them."""
        return self.config.limit if self.config.generator is not None else len(self._items)

    def item(self, position: int) -> Item:
        if self.config.generator is None:
            return self._items[self._epochs.row(position)]
        if self.config.limit:
            position %= self.config.limit
        rng = random.Random(derive_seed(self.seed, self.config.label, position))
        return self.parse(self._make(rng, **self.config.options), f"{self.config.label}, row {position}")


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of a step, and how many rows were passed over because they are too long."""

    examples: list[Example]
    num_skipped: int

    @property
    def metrics(self) -> StepMetrics:
        return {"data/too_long": float(self.num_skipped)}


class RowStream(Generic[Item]):
    """Row k is a function of the config, the seed and k. Its state is how many were drawn."""

    def __init__(self, sources: Sequence[RowSourceConfig], seed: int, parse: Parse[Item]) -> None:
        self._sources = [RowSource(source, parse, derive_seed(seed, "source", n)) for n, source in enumerate(sources)]
        self._mixture = Mixture([source.weight for source in sources], seed)
        self._next = 0

    def draw(self) -> tuple[int, Item]:
        """The next row and its number."""
        number, self._next = self._next, self._next + 1
        source, position = self._mixture.locate(number)
        return number, self._sources[source].item(position)

    @property
    def num_rows(self) -> int | None:
        """Different rows of all sources; None where there is no end of them."""
        counts = [source.num_rows for source in self._sources]
        return None if None in counts else sum(count or 0 for count in counts)

    def state(self) -> dict[str, Any]:
        return {"next": self._next}

    def load(self, state: dict[str, Any]) -> None:
        self._next = state["next"]


class ExampleStream(Generic[Item]):
    """A stream of rows as examples. `make(number, item)` gives those of a row; one that is too long drops its row."""

    def __init__(
        self,
        sources: Sequence[RowSourceConfig],
        seed: int,
        *,
        parse: Parse[Item],
        make: Callable[[int, Item], list[Example]],
        max_tokens: int,
    ) -> None:
        self.make, self.max_tokens = make, max_tokens
        self._rows = RowStream(sources, seed, parse)
        self.state, self.load = self._rows.state, self._rows.load

    def take_once(self, most: int) -> Batch:
        """Up to so many rows, none of a file or dataset twice; those that are too long are left out."""
        rows = min(most, self._rows.num_rows or most)
        made = [self.make(*self._rows.draw()) for _ in range(rows)]
        short = [each for each in made if max(len(example.token_ids) for example in each) <= self.max_tokens]
        return Batch([example for each in short for example in each], rows - len(short))

    def take(self, num_rows: int) -> Batch:
        """The next rows that are short enough. Raises ValueError when none seems to be."""
        examples: list[Example] = []
        num_taken = num_skipped = in_a_row = 0
        while num_taken < num_rows:
            made = self.make(*self._rows.draw())
            if max(len(example.token_ids) for example in made) <= self.max_tokens:
                examples += made
                num_taken, in_a_row = num_taken + 1, 0
                continue
            num_skipped, in_a_row = num_skipped + 1, in_a_row + 1
            if in_a_row == MAX_SKIPS:
                raise ValueError(f"{MAX_SKIPS} rows in a row exceed max_tokens = {self.max_tokens}: raise it")
        return Batch(examples, num_skipped)


def read_items(source: RowSourceConfig, parse: Parse[Item]) -> list[Item]:
    """All items of a file or dataset. Raises ValueError naming the place and the fault."""
    found = []
    for number, line in islice(read_rows(source), source.limit):
        where = f"{source.label}, row {number}"
        found.append(parse(parse_row(line, where), where))
    if not found:
        raise ValueError(f"{source.label} holds no row")
    return found
