"""The config of a pipeline: stages in order, each a config of a run, that refer to the output of earlier ones."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.config import RecipeConfig
from rl.log import LogConfig

OUTPUTS = ("model", "data", "folder")
REFERENCE = re.compile(r"\$\{stages\.([^.}]*)\.([^}]*)\}")
UNESCAPED_REFERENCE = re.compile(r"(?<!\\)" + REFERENCE.pattern)
INTERPOLATION = re.compile(r"(\\*)\$\{")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class StageConfig(BaseModel):
    """A run: `config` is a file, or the content of one, and `overrides` are laid over it by dotted key.

    Files are read when the pipeline's config is, so that `config` then holds all that was said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: dict[str, Any]
    overrides: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        from rl.config_file import find_config, read_yaml, with_overrides

        if not isinstance(values, dict) or not isinstance(values.get("config"), str | dict):
            return values
        config, overrides = values["config"], values.get("overrides") or {}
        if not isinstance(overrides, dict):
            raise ValueError("overrides are a mapping from key.path to value")
        texts = [f"{key}={json.dumps(escape_interpolations(value))}" for key, value in overrides.items()]
        if isinstance(config, str):
            content, source = read_yaml(find_config(config)), config
        else:
            content, source = escape_interpolations(config), "config"  # its own are resolved with the pipeline's
        return values | {"config": with_overrides(content, texts, source), "overrides": {}}

    @property
    def recipe(self) -> str:
        return str(self.config.get("recipe", "grpo"))


class TableRow(BaseModel):
    """A line of the report's table: a metric, where each * stands for any part, and what it is called there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    label: str = ""


class PipelineConfig(RecipeConfig):
    """Stages in order, each a `sharpen run` of its own in `stages/NAME` of the pipeline's run folder.

    A stage refers to an earlier one by `${stages.NAME.model}` (the weights of its newest checkpoint),
    `${stages.NAME.data}` (its folder `data`) or `${stages.NAME.folder}`. `vars` hold what stages share, by
    `${vars.KEY}`. `table` says which metrics the report sets side by side.
    """

    resume_may_change: ClassVar[frozenset[str]] = frozenset({"stages", "table", "vars", "num_steps", "log", "hardware"})

    recipe: Literal["pipeline"] = "pipeline"
    vars: dict[str, Any] = Field({})
    stages: dict[str, StageConfig] = Field(min_length=1)
    table: list[TableRow] = Field([TableRow(metric="eval/*/avg@*")])
    log: LogConfig = LogConfig(sinks=[])

    @model_validator(mode="before")
    @classmethod
    def _count(cls, values: Any) -> Any:
        has_stages = isinstance(values, dict) and isinstance(values.get("stages"), dict)
        return values | {"num_steps": len(values["stages"])} if has_stages else values

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for name, stage in self.stages.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"stages: {name!r} is no name of a stage: lower-case letters, digits, - and _ only")
            if stage.recipe == "pipeline":
                raise ValueError(f"stages.{name}: a stage cannot be a pipeline; put its stages in here")
            self._check_references(name)
        configs = {name: self.stage_config(name) for name in self.stages}
        for name, stage in self.stages.items():
            for target, output in references(stage.config):
                checkpoint = getattr(configs[target], "checkpoint", None)
                if output == "model" and not (checkpoint and checkpoint.at_end):
                    raise ValueError(
                        f"stages.{name}: {target} leaves no model at its end: it must be a stage that trains, with "
                        "checkpoint.at_end"
                    )
        return self

    def _check_references(self, name: str) -> None:
        earlier = list(self.stages)[: list(self.stages).index(name)]
        known = f"earlier ones are {', '.join(earlier) or 'none'}"
        for target, output in references(self.stages[name].config):
            text = f"stages.{name}: ${{stages.{target}.{output}}}"
            if target not in self.stages:
                raise ValueError(f"{text}: there is no stage {target!r}; {known}")
            if target not in earlier:
                raise ValueError(f"{text} is not earlier than {name!r}; {known}")
            if output not in OUTPUTS:
                raise ValueError(f"{text}: a stage has no {output!r}; it has {', '.join(OUTPUTS)}")

    def stage_config(self, name: str) -> RecipeConfig:
        """A stage's config with names in the place of outputs. Raises ValueError naming the stage and its faults."""
        from rl.config_file import parse_config

        values = fill_references(self.stages[name].config, lambda target, output: f"stages/{target}/{output}")
        return parse_config(values, f"stages.{name}")

    def model_origin(self, model: str | None) -> str | None:
        """The model that one of an earlier stage goes back to, through the stages that made it."""
        made_by = next(references(model), None)
        return self.model_origin(self.stages[made_by[0]].config.get("model")) if made_by else model

    def in_words(self) -> str:
        lines = [f"{len(self.stages)} stages: {', '.join(self.stages)}."]
        for name, stage in self.stages.items():
            words = self.stage_config(name).in_words().replace("\n", "\n  ")
            lines.append(f"{name} ({stage.recipe}):\n  {words}")
        return "\n".join(lines)


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """The same plain data with every text changed; keys stay."""
    if isinstance(value, dict):
        return {key: map_strings(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [map_strings(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def fill_references(values: Any, output: Callable[[str, str], str]) -> Any:
    return map_strings(values, lambda text: REFERENCE.sub(lambda found: output(found[1], found[2]), text))


def references(values: Any) -> Iterator[tuple[str, str]]:
    """Every (stage, output) that texts in there refer to."""
    if isinstance(values, dict | list):
        for inner in values.values() if isinstance(values, dict) else values:
            yield from references(inner)
    elif isinstance(values, str):
        yield from ((found[1], found[2]) for found in REFERENCE.finditer(values))


def escape_interpolations(values: Any) -> Any:
    """So written that OmegaConf reads the texts as they are."""
    return map_strings(values, lambda text: INTERPOLATION.sub(lambda found: 2 * found[1] + "\\${", text))


def escape_references(values: Any) -> Any:
    """So written that OmegaConf leaves references to stages as they are, and resolves the rest."""
    return map_strings(values, lambda text: UNESCAPED_REFERENCE.sub(lambda found: "\\" + found[0], text))
