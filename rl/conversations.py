"""Conversations to learn from: read, mixed by weight, rendered with exact loss masks; exact over a resume."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.mixture import Epochs, Mixture
from rl.plugins import check_name, find_function
from rl.rows import parse_row, read_rows
from rl.seeds import derive_seed
from rl.types import Conversation, Example, StepMetrics
from rollout.types import prompt_id

ROLES = {"system", "user", "assistant", "tool"}
MAX_SKIPS = 1000  # conversations in a row that are too long


class ConversationSourceConfig(BaseModel):
    """Rows with `messages`, from a `path` (JSON lines or parquet), a Hugging Face `dataset` or a `generator`.

    A row may say `thinking` (false: its empty think block is prompt, as in sampling without thinking). The
    generator is `module:function`, called as `function(rng, **options)` for each row.
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


class Renderer(Protocol):
    def render_conversation(
        self, messages: Sequence[Mapping[str, Any]], *, thinking: bool | None = None
    ) -> tuple[tuple[int, ...], tuple[bool, ...]]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of a step, and how many conversations were passed over because they are too long."""

    examples: list[Example]
    num_skipped: int

    @property
    def metrics(self) -> StepMetrics:
        return {"data/too_long": float(self.num_skipped)}


class ConversationSource:
    """The conversations of one source by position: files and datasets repeat in epochs, generators never end."""

    def __init__(self, config: ConversationSourceConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        if config.generator is None:
            self._rows = read_conversations(config)
            self._epochs = Epochs(len(self._rows), config.label, seed, shuffle=config.shuffle)
        else:
            self._make: Callable[..., Mapping[str, Any]] = find_function(config.generator, {}, "generator")

    def conversation(self, position: int) -> Conversation:
        if self.config.generator is None:
            return self._rows[self._epochs.row(position)]
        if self.config.limit:
            position %= self.config.limit
        rng = random.Random(derive_seed(self.seed, self.config.label, position))
        return to_conversation(self._make(rng, **self.config.options), f"{self.config.label}, row {position}")


class ConversationStream:
    """Conversation k is a function of the config, the seed and k. Its state is how many were drawn."""

    def __init__(self, sources: Sequence[ConversationSourceConfig], seed: int) -> None:
        self._sources = [ConversationSource(source, derive_seed(seed, "source", n)) for n, source in enumerate(sources)]
        self._mixture = Mixture([source.weight for source in sources], seed)
        self._next = 0

    def draw(self) -> tuple[int, Conversation]:
        """The next conversation and its number."""
        number, self._next = self._next, self._next + 1
        source, position = self._mixture.locate(number)
        return number, self._sources[source].conversation(position)

    def take(self, count: int, chat: Renderer, max_tokens: int) -> Batch:
        """The next `count` conversations of at most `max_tokens` tokens. ValueError when none seems to fit."""
        examples: list[Example] = []
        num_skipped = in_a_row = 0
        while len(examples) < count:
            number, conversation = self.draw()
            example = make_example(conversation, chat, number)
            if len(example.token_ids) <= max_tokens:
                examples.append(example)
                in_a_row = 0
                continue
            num_skipped, in_a_row = num_skipped + 1, in_a_row + 1
            if in_a_row == MAX_SKIPS:
                raise ValueError(f"{MAX_SKIPS} conversations in a row exceed max_tokens = {max_tokens}: raise it")
        return Batch(examples, num_skipped)

    def state(self) -> dict[str, Any]:
        return {"next": self._next}

    def load(self, state: dict[str, Any]) -> None:
        self._next = state["next"]


def make_example(conversation: Conversation, chat: Renderer, number: int) -> Example:
    """A conversation as the model would see it; what stands before its first trained token is the prefix."""
    token_ids, trainable = chat.render_conversation(conversation.messages, thinking=conversation.thinking)
    if True not in trainable:
        raise ValueError(f"conversation {conversation.id}: no token of it is the model's")
    return Example(token_ids=token_ids, trainable=trainable, prefix_id=str(number), prefix_length=trainable.index(True))


def read_conversations(source: ConversationSourceConfig) -> list[Conversation]:
    """All conversations of a source. Raises ValueError naming the place and the fault."""
    found = []
    for number, line in islice(read_rows(source), source.limit):
        where = f"{source.label}, row {number}"
        found.append(to_conversation(parse_row(line, where), where))
    if not found:
        raise ValueError(f"{source.label} holds no conversation")
    return found


def to_conversation(row: Mapping[str, Any], where: str) -> Conversation:
    """A row as a conversation that ends with the model's turn."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{where}: no list messages")
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ValueError(f"{where}: each message has a role of {', '.join(sorted(ROLES))}; got {message!r:.200}")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"{where}: content of a message must be a text, got {message!r:.200}")
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message must be the assistant's, it is of {messages[-1]['role']}")
    thinking = row.get("thinking")
    if thinking is not None and not isinstance(thinking, bool):
        raise ValueError(f"{where}: thinking must be true, false or null, got {thinking!r}")
    identity = row.get("id") or prompt_id(messages, "conversation", thinking)
    return Conversation(id=str(identity), messages=tuple(messages), thinking=thinking)
