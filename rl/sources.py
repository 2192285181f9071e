"""Where prompts come from: files, datasets and generators, each an indexed sequence of rows."""

import inspect
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.environments import check_environment, environment_of
from rl.mixture import Epochs
from rl.plugins import check_name, find_function
from rl.puzzles import puzzle_rows
from rl.rows import Row, parse_row, read_rows
from rl.seeds import derive_seed
from rollout.types import EnvironmentConfig, Message, Prompt, prompt_id

GENERATOR_SIZE = 2**31 - 1
REASONING_GYM_SIZE = 100_000  # some of its generators make a list of this length at the start


class SourceConfig(BaseModel):
    """Rows from exactly one of `path`, `dataset`, `generator` or `reasoning_gym`, and how a row becomes a prompt.

    `path`: verl's parquet schema or JSON lines. `dataset`: a Hugging Face dataset, with `split` and `name`.
    `generator`: `module:function`, called as `function(rng, **options)` for each row. `reasoning_gym`: the name
    of one of its generators, whose own scores judge the answers unless `task` says otherwise. `system` and
    `examples` (messages) come before the question; `template` holds `{question}`. `task`, `params`, `thinking`,
    `thinking_budget` and `environment` are those of the prompts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    dataset: str | None = None
    generator: str | None = None
    reasoning_gym: str | None = None
    split: str = "train"
    name: str | None = None
    options: dict[str, Any] = {}
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    task: str | None = None
    params: dict[str, Any] = {}
    system: str | None = None
    examples: list[dict[str, str]] = []
    template: str | None = None
    thinking: bool | None = None
    thinking_budget: int | None = Field(None, gt=0)
    environment: EnvironmentConfig | None = None
    shuffle: bool = True
    limit: int | None = Field(None, gt=0)
    on_bad_row: Literal["stop", "skip"] = "stop"

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [n for n in ("path", "dataset", "generator", "reasoning_gym") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, dataset, generator, reasoning_gym; got {given or 'none'}")
        if self.template is not None and "{question}" not in self.template:
            raise ValueError("template must hold {question}")
        if self.thinking is False and self.thinking_budget is not None:
            raise ValueError(
                "thinking_budget is for responses that think, and thinking is false: leave one of them out"
            )
        if self.generator is not None:
            check_name(self.generator, {}, "generator")
        check_environment(self.environment)
        return self

    @property
    def label(self) -> str:
        return str(self.path or self.dataset or self.generator or f"reasoning_gym:{self.reasoning_gym}")


class Source:
    """The prompts of one source by index: `prompt(k)` is a function of the config, the seed and k alone.

    Files and datasets repeat in epochs, each in an order of its own; generators never end.
    """

    def __init__(self, config: SourceConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.num_skipped = 0
        if config.path is not None or config.dataset is not None:
            self._prompts = self._read_all()
            self._epochs = Epochs(len(self._prompts), config.label, seed, shuffle=config.shuffle)
        else:
            self._make = _generator(config, seed)

    def __len__(self) -> int:
        is_finite = self.config.path is not None or self.config.dataset is not None
        if is_finite:
            return len(self._prompts)
        return self.config.limit or (REASONING_GYM_SIZE if self.config.reasoning_gym else GENERATOR_SIZE)

    def prompt(self, index: int) -> Prompt:
        if self.config.path is None and self.config.dataset is None:
            position = index % len(self)
            return to_prompt(self._make(position), self.config, f"{self.config.label}, row {position}")
        return self._prompts[self._epochs.row(index)]

    def _read_all(self) -> list[Prompt]:
        prompts = []
        for number, row in itertools.islice(read_rows(self.config), self.config.limit):
            where = f"{self.config.label}, row {number}"
            try:
                prompts.append(to_prompt(parse_row(row, where), self.config, where))
            except ValueError:
                if self.config.on_bad_row == "stop":
                    raise
                self.num_skipped += 1
        if not prompts:
            raise ValueError(f"prompts: {self.config.label} holds no usable row")
        return prompts


def rows_once(config: SourceConfig, seed: int) -> Iterator[tuple[str, Row | bytes]]:
    """Each row once, in order, after the words for its place. A generator has `limit` of them."""
    if config.path is not None or config.dataset is not None:
        for number, row in itertools.islice(read_rows(config), config.limit):
            yield f"{config.label}, row {number}", row
        return
    if config.limit is None:
        raise ValueError(f"{config.label} never ends: give limit, the number of its rows")
    make = _generator(config, seed)
    for number in range(config.limit):
        yield f"{config.label}, row {number}", make(number)


def _generator(config: SourceConfig, seed: int) -> Callable[[int], Row]:
    if config.generator is not None:
        function: Callable[..., Row] = find_function(config.generator, {}, "generator")
        label = config.generator
        try:
            inspect.signature(function).bind(None, **config.options)
        except TypeError as error:
            raise ValueError(f"prompts: options of {label}: {error}") from error
        return lambda k: function(random.Random(derive_seed(seed, label, k)), **config.options)
    assert config.reasoning_gym is not None, "the only origin that is left"
    size = config.limit or REASONING_GYM_SIZE
    task = config.task or "reasoning_gym"
    return puzzle_rows(config.reasoning_gym, config.options, seed=seed % 2**31, size=size, task=task)


def to_prompt(row: Row, config: SourceConfig, where: str) -> Prompt:
    """A row as a prompt. Raises ValueError naming the place and the field."""
    if not isinstance(row, Mapping):
        raise ValueError(f"prompts: {where}: a mapping is wanted, got {type(row).__name__}")
    question = _first(row, "prompt", "question", "problem")
    if not question:
        raise ValueError(f"prompts: {where}: no field prompt, question or problem")
    graded = row.get("reward_model")
    reference = graded.get("ground_truth") if isinstance(graded, Mapping) else _first(row, "reference", "answer")
    if reference is None:
        raise ValueError(f"prompts: {where}: no reward_model.ground_truth, reference or answer")
    task = config.task or row.get("task") or _task_of(row.get("data_source"))
    if not isinstance(task, str):
        raise ValueError(f"prompts: {where}: task must be a name, got {task!r}")
    params = row.get("params") or {}
    if not isinstance(params, Mapping):
        raise ValueError(f"prompts: {where}: params must be a mapping, got {params!r}")
    messages = (*_opening(config), *_messages(question, config, where))
    environment = environment_of(row, config.environment, where)
    try:
        identity = prompt_id(messages, task, reference, environment)
    except TypeError as error:
        raise ValueError(f"prompts: {where}: reference or environment.options are not JSON ({error})") from error
    return Prompt(
        id=identity,
        messages=messages,
        task=task,
        reference=reference,
        params={**_of_verl(row), **params, **config.params},
        thinking=config.thinking,
        thinking_budget=config.thinking_budget,
        environment=environment,
    )


def _first(row: Row, *names: str) -> Any:
    """The first field that is not null: tables that were joined have a column for each name."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def _of_verl(row: Row) -> dict[str, Any]:
    """What a reward function of verl's is given besides response and reference."""
    return {name: row[name] for name in ("data_source", "extra_info") if row.get(name) is not None}


def _task_of(data_source: Any) -> str:
    """verl names data sets where we name tasks; what is not a task of ours is taken for mathematics."""
    from rewards.registry import load_tasks

    return data_source if isinstance(data_source, str) and data_source in load_tasks() else "math"


def _opening(config: SourceConfig) -> tuple[Message, ...]:
    system: list[Message] = [{"role": "system", "content": config.system}] if config.system else []
    return (*system, *config.examples)


def _messages(question: Any, config: SourceConfig, where: str) -> tuple[Message, ...]:
    if isinstance(question, str):
        text = question if config.template is None else config.template.replace("{question}", question)
        return ({"role": "user", "content": text},)
    try:
        messages = tuple({"role": m["role"], "content": m["content"]} for m in question)
    except (TypeError, KeyError) as error:
        raise ValueError(f"prompts: {where}: prompt is neither a text nor a list of role and content") from error
    if not all(isinstance(value, str) for message in messages for value in message.values()):
        raise ValueError(f"prompts: {where}: role and content of a message must be texts, got {messages!r:.200}")
    if config.template is not None:
        last = dict(messages[-1])
        last["content"] = config.template.replace("{question}", last["content"])
        messages = (*messages[:-1], last)
    return messages
