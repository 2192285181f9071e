"""Configs of the recipes `curate` and `select`."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rewards.scorer import ScorerConfig
from rl.config import RecipeConfig
from rl.curation.checklists import ChecklistConfig
from rl.curation.fusion import FlagsConfig
from rl.curation.queries import QuerySourceConfig, ValidationConfig
from rl.curation.query_filters import QUERY_FILTERS, check_query_filters
from rl.curation.questions import QUESTIONS
from rl.curation.respondents import RespondentConfig
from rl.curation.response_filters import ResponseFiltersConfig
from rl.curation.review import ReviewConfig
from rl.curation.selection import ChooseConfig, PairsConfig
from rl.curation.similarity import SimilarityConfig
from rl.log import LogConfig
from rl.row_stream import RowSourceConfig


class WithoutThinkingConfig(RespondentConfig):
    """A model that answers without thinking; queries that it gets right more often than `max_rate` are dropped.

    A model without a thinking mode reasons in its answer unless `system`, put before each query, asks it not to.
    """

    system: str | None = None
    max_rate: float = Field(0.5, ge=0, le=1)


class LengthConfig(BaseModel):
    """How long a query may be: tokens of its prompt, as the chat template of `model` renders it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    max_tokens: int = Field(gt=0)


class QueryFiltersConfig(BaseModel):
    """Rules by name, and the length that later stages have room for; then whether the verifier accepts the reference,
    then models; at last a cap for each domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: list[str] = list(QUERY_FILTERS)
    length: LengthConfig | None = None
    verifiable: bool = True
    without_thinking: WithoutThinkingConfig | None = None
    domain_cap: int | None = Field(None, ge=1)

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return check_query_filters(names)


class CurateConfig(RecipeConfig):
    """Queries to filtered, verified conversations for the cold start, and to pairs for reasoning RL.

    `candidates` names who answers, with thinking. `judge_questions` (query, domain, guesswork, disagreement, style) go
    to the judge of `rewards`, after the rules. With `pairs`, a prompt file for RL is selected as well.
    """

    resume_may_change: ClassVar[frozenset[str]] = RecipeConfig.resume_may_change | {"review"}

    recipe: Literal["curate"] = "curate"
    queries: list[QuerySourceConfig] = Field(min_length=1)
    validation: ValidationConfig = ValidationConfig(share=0.05)
    query_filters: QueryFiltersConfig = QueryFiltersConfig()
    candidates: RespondentConfig
    review: ReviewConfig = ReviewConfig()
    response_filters: ResponseFiltersConfig = ResponseFiltersConfig()
    judge_questions: list[str] = Field(default_factory=list)
    choose: ChooseConfig = ChooseConfig()
    pairs: PairsConfig | None = None
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])

    @model_validator(mode="after")
    def _has_a_judge(self) -> Self:
        unknown = set(self.judge_questions) - QUESTIONS.keys()
        if unknown:
            raise ValueError(f"judge_questions: unknown {', '.join(sorted(unknown))}; known are {', '.join(QUESTIONS)}")
        if self.judge_questions and self.rewards.judge is None:
            raise ValueError("judge_questions needs a judge: set rewards.judge.url and rewards.judge.model")
        return self

    @property
    def respondents(self) -> dict[str, RespondentConfig]:
        """Who answers queries, by field; they take turns."""
        asked = {
            "without_thinking": self.query_filters.without_thinking,
            "candidates": self.candidates,
            "pairs": self.pairs,
        }
        return {name: config for name, config in asked.items() if config is not None}

    def in_words(self) -> str:
        asked = ", ".join(self.judge_questions) or "nothing"
        return (
            f"{len(self.queries)} sources of queries; a validation set reserved first; {self.candidates.num_samples} "
            f"candidates a query; the judge is asked: {asked}; at most {self.choose.per_query} conversations a query."
        )


class SelectConfig(RecipeConfig):
    """Pairs of query and verifier for RL, from queries that are filtered already: `queries.jsonl` of a curation.

    `exclude` are files of conversations that were learned from, `held_out` sources of queries which nothing that is
    near to one of them may be taken into training.
    """

    recipe: Literal["select"] = "select"
    queries: list[QuerySourceConfig] = Field(min_length=1)
    exclude: list[str] = Field(default_factory=list)
    held_out: list[QuerySourceConfig] = Field(default_factory=list)
    similarity: SimilarityConfig = SimilarityConfig()
    pairs: PairsConfig
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])

    @property
    def respondents(self) -> dict[str, RespondentConfig]:
        return {"pairs": self.pairs}

    def in_words(self) -> str:
        return (
            f"{len(self.queries)} sources of queries, each answered {self.pairs.num_samples} times; pass rates above 0 "
            f"and up to {self.pairs.max_rate:g} are kept, hardest first."
        )


class FuseConfig(RecipeConfig):
    """Data for thinking-mode fusion: solved queries with thinking, conversations without, and flags (§4.3).

    `thinking` is who answers the queries, by the report the model of stage 2 itself; its right responses are kept.
    `plain` are conversations without thinking, at most `num_plain`, drawn by the weights of their sources and checked
    by a checklist where there is one: the judge of `rewards` writes and reads it. `without_thinking` answers the
    queries a second time, with thinking off: where both are the teacher, the set is that of off-policy distillation.
    `held_out` are sources of queries, the validation set first of all: what is near one is left out, in all of these.
    """

    recipe: Literal["fuse"] = "fuse"
    queries: list[QuerySourceConfig] = Field(min_length=1)
    thinking: RespondentConfig
    without_thinking: RespondentConfig | None = None
    response_filters: ResponseFiltersConfig = ResponseFiltersConfig(
        names=["wrong_answer", "repetition", "similar_to_validation"]
    )
    held_out: list[QuerySourceConfig] = Field(default_factory=list)
    similarity: SimilarityConfig = SimilarityConfig()
    choose: ChooseConfig = ChooseConfig()
    plain: list[RowSourceConfig] = Field([])
    num_plain: int = Field(0, ge=0)
    checklist: ChecklistConfig | None = None
    flags: FlagsConfig = FlagsConfig()
    rewards: ScorerConfig = ScorerConfig()
    log: LogConfig = LogConfig(sinks=[])

    @model_validator(mode="after")
    def _has_a_judge(self) -> Self:
        if self.checklist is not None and self.rewards.judge is None:
            raise ValueError("checklist needs a judge: set rewards.judge.url and rewards.judge.model")
        return self

    @model_validator(mode="after")
    def _has_both_modes(self) -> Self:
        if bool(self.plain) != bool(self.num_plain):
            raise ValueError("plain and num_plain belong together: sources, and how many conversations to draw of them")
        if not self.plain and self.without_thinking is None:
            raise ValueError("nothing is without thinking: give plain and num_plain, or without_thinking")
        return self

    @property
    def respondents(self) -> dict[str, RespondentConfig]:
        """Who answers queries, by field; they take turns."""
        asked = {"thinking": self.thinking, "without_thinking": self.without_thinking}
        return {name: config for name, config in asked.items() if config is not None}

    def in_words(self) -> str:
        without = self.without_thinking.num_samples if self.without_thinking else 0
        return (
            f"{len(self.queries)} sources of queries, each answered {self.thinking.num_samples} times with thinking "
            f"and {without} times without; {self.num_plain} conversations without thinking from {len(self.plain)} "
            f"sources; {self.flags.multi_turn_share:.0%} of all in several turns."
        )
