"""Components to scores: pure functions, and the config that says how a task's components are combined."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from rewards.types import RewardResult

RULE, JUDGE, PREFERENCE = "rule", "judge", "preference"
REFUSED = "preference/refused"  # 1 in the place of a logit: the preference task judged without asking the model
VETO, PENALTY = "veto/", "penalty/"
DEFAULT_GATE = 0.5
TOLERANCE = 1e-6


class Scale(NamedTuple):
    """What a raw component is normalised by."""

    mean: float
    std: float


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(_Part):
    """Another task that judges the same response, with `params` of its own.

    Where `reference` is null a judge or a preference has the request's; a veto has none, since it is not the answer
    that it judges.
    """

    task: str
    reference: Any = None
    params: dict[str, Any] = Field(default_factory=dict)


class Veto(Component):
    """A task whose score below `min` leaves the least value. `name`, by default the task, tells two of them apart."""

    min: FiniteFloat = 1.0
    name: str = ""

    @property
    def component(self) -> str:
        return VETO + (self.name or self.task)


class Rule(_Part):
    """The request's own task. `gap` is the least difference of two of its scores: 1 where it says right or wrong.

    It matters where there is a preference: the scores must then be multiples of it.
    """

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    gap: float = Field(1.0, gt=0, le=1)


class Judge(Component):
    """A task that may lift what the rule puts below `gate`; without a rule it judges everything."""

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    gate: float = Field(DEFAULT_GATE, gt=0, le=1)


class Preference(Component):
    """A task with a raw `logit`, normalised as (logit - mean) / std within -clip to clip.

    It counts where the rule reaches `gate` (0.5 by default), or the judge says right; without a rule there is no gate.
    """

    weight: float = Field(gt=0, allow_inf_nan=False)
    gate: float | None = Field(None, gt=0, le=1)
    mean: FiniteFloat = 0.0
    std: float = Field(1.0, gt=0, allow_inf_nan=False)
    clip: float = Field(3.0, gt=0, allow_inf_nan=False)


class Combination(_Part):
    """How the requests of a task are scored: docs/combination.md. `penalties` are tasks with the weight of what each
    score lacks to 1.

    Raises ValueError where the preference could change the order of what rule or judge says.
    """

    veto: tuple[Veto, ...] = ()
    rule: Rule | None = Rule()
    judge: Judge | None = None
    preference: Preference | None = None
    penalties: dict[str, float] = Field(default_factory=dict)

    @property
    def tasks(self) -> dict[str, str]:
        """The fields that name a task, and the names."""
        names = {f"veto.{index}.task": each.task for index, each in enumerate(self.veto)}
        names |= {f"{n}.task": part.task for n, part in ((JUDGE, self.judge), (PREFERENCE, self.preference)) if part}
        return names | {f"penalties.{name}": name for name in self.penalties}

    @property
    def scales(self) -> dict[str, Scale]:
        """The configured scale of each raw component that is normalised."""
        return {PREFERENCE: Scale(self.preference.mean, self.preference.std)} if self.preference else {}

    @property
    def gate(self) -> float:
        """The least score of the rule with which the preference counts."""
        return (self.preference and self.preference.gate) or DEFAULT_GATE

    @property
    def partial_weight(self) -> float:
        """What a judge's score below 1 is multiplied by: no more than the least that an accepted answer is worth.

        That is the judge's weight where no preference can lower those, or where nothing is proved of their order.
        """
        assert self.judge is not None, "only a judge has partial scores"
        if self.rule is None or self.preference is None:
            return self.judge.weight
        accepted = self.rule.weight * min(score for score in _scores(self.rule) if self.accepts(score))
        return min(accepted, self.judge.weight) - self.preference.weight * self.preference.clip

    def accepts(self, rule: float) -> bool:
        """Whether a score of the rule has the preference."""
        return rule >= self.gate - TOLERANCE

    @field_validator("veto", mode="before")
    @classmethod
    def _named_by_task(cls, vetoes: Any) -> Any:
        """A veto without fields may be the name of its task alone."""
        if not isinstance(vetoes, list | tuple):
            return vetoes
        return [{"task": veto} if isinstance(veto, str) else veto for veto in vetoes]

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if not (self.rule or self.judge or self.preference):
            raise ValueError("rule is null, and there is neither a judge nor a preference: nothing gives a score")
        twice = [name for name, count in Counter(veto.component for veto in self.veto).items() if count > 1]
        if twice:
            raise ValueError(f"veto: two are called {twice[0].removeprefix(VETO)!r}; give one of them a name")
        for name, weight in self.penalties.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"penalties.{name}: {weight:g} is not above 0, or not finite; leave out what is 0")
        if self.rule is not None:
            self._check_judge(self.rule)
            self._check_preference(self.rule)
        elif self.preference is not None and self.preference.gate is not None:
            raise ValueError(
                f"preference.gate: {self.preference.gate:g}, but rule is null: leave the gate out, or give a rule"
            )
        return self

    def _check_judge(self, rule: Rule) -> None:
        if self.judge is None:
            return
        if self.judge.weight > rule.weight:
            raise ValueError(
                f"judge.weight: {self.judge.weight:g} is above rule.weight {rule.weight:g}: an answer that the rule "
                f"refuses would be worth more than one that it accepts; set it to {rule.weight:g} or less"
            )
        if self.preference is not None and self.judge.gate > self.gate:
            raise ValueError(
                f"judge.gate: {self.judge.gate:g} is above preference.gate {self.gate:g}: one answer would have both; "
                f"set it to {self.gate:g} or less"
            )

    def _check_preference(self, rule: Rule) -> None:
        """Between two answers on both sides of the gate one has the term, and beyond it both have."""
        if self.preference is None:
            return
        steps = round(1 / rule.gap)
        if abs(steps * rule.gap - 1) > TOLERANCE:
            raise ValueError(f"rule.gap: 1 is no multiple of {rule.gap:g}; take 1, 0.5, 0.25, 0.2, 0.1, ...")
        sides = 2 if sum(map(self.accepts, _scores(rule))) > 1 else 1
        spread, gap = sides * self.preference.weight * self.preference.clip, rule.weight * rule.gap
        if spread >= gap:
            raise ValueError(
                f"preference.weight: {self.preference.weight:g} with clip {self.preference.clip:g} moves answers by "
                f"up to {spread:g}, not less than the {gap:g} between two scores of the rule: a worse answer could "
                f"pass a better one; set the weight below {gap / sides / self.preference.clip:.4g}, or lower the clip"
            )
        if self.judge is not None:
            refused = max((score for score in _scores(rule) if score < self.judge.gate - TOLERANCE), default=0.0)
            reach, wrong = self.preference.weight * self.preference.clip, rule.weight * refused
            if self.judge.weight - reach <= wrong:
                raise ValueError(
                    f"judge.weight: {self.judge.weight:g} less the {reach:g} of the preference is not above the "
                    f"{wrong:g} of answers that are refused; set it above {wrong + reach:g}, or lower the preference"
                )


def _scores(rule: Rule) -> list[float]:
    """All scores of a rule."""
    steps = round(1 / rule.gap)
    return [step / steps for step in range(steps + 1)]


def missing(components: Mapping[str, float], combination: Combination) -> list[str]:
    """The components that the score still needs, in the order of asking; none where it is settled.

    A veto that has hit settles the value, the rule decides between judge and preference, and both wait for it.
    """
    wanted = [PENALTY + name for name in combination.penalties]
    if not is_vetoed(components, combination):
        first = [veto.component for veto in combination.veto] + [RULE] * (combination.rule is not None)
        waiting = [name for name in first if name not in components]
        wanted = (waiting or _later(components, combination)) + wanted
    return [name for name in wanted if name not in components]


def _later(components: Mapping[str, float], combination: Combination) -> list[str]:
    """What is asked when no veto has hit and the rule is known: the judge, then the preference for what is right."""
    rule = components[RULE] if combination.rule else None
    judge = combination.judge
    asks_judge = judge is not None and (rule is None or rule < judge.gate - TOLERANCE)
    is_right = rule is None or combination.accepts(rule)
    if asks_judge and not is_right:
        is_right = _is_full(components.get(JUDGE, 0.0))
    asks_preference = combination.preference is not None and is_right
    return [JUDGE] * asks_judge + [PREFERENCE] * (asks_preference and REFUSED not in components)


def _is_full(judge: float) -> bool:
    return judge >= 1 - TOLERANCE


def combine(
    components: Mapping[str, float], combination: Combination, scales: Mapping[str, Scale] | None = None
) -> float:
    """The score of raw components; `scales` stand for the configured ones.

    R = veto * (max(w_rule * rule, w_judge * judge where the rule failed) + w_pref * normalised logit where either says
    right) + sum of w * penalty, where a partial judge has the `partial_weight`; our own design, none is published.
    Raises ValueError for a component that is missing, or that is not what the combination believes.
    """
    absent = missing(components, combination)
    if absent:
        raise ValueError(f"{absent[0]} is missing")
    _check_ranges(components, combination)
    # Exact, so that the order in which the config names penalties changes nothing.
    total = math.fsum(weight * components[PENALTY + name] for name, weight in combination.penalties.items())
    preference = combination.preference
    if is_vetoed(components, combination):
        ungated = preference is not None and combination.rule is None
        return total - (preference.weight * preference.clip if preference is not None and ungated else 0.0)
    later = _later(components, combination)
    value = combination.rule.weight * components[RULE] if combination.rule else 0.0
    if combination.judge is not None and JUDGE in later:
        judge = components[JUDGE]
        lifted = combination.judge.weight if _is_full(judge) else combination.partial_weight * judge
        value = max(value, lifted)
    if preference is not None and REFUSED in components:
        value -= preference.weight * preference.clip
    elif preference is not None and PREFERENCE in later:
        scale = (scales or combination.scales)[PREFERENCE]
        normalised = (components[PREFERENCE] - scale.mean) / scale.std
        value += preference.weight * min(max(normalised, -preference.clip), preference.clip)
    return value + total


def recombine(result: RewardResult, combination: Combination, scales: Mapping[str, Scale]) -> RewardResult:
    """The result with its score made anew from its raw components; one without a score stays as it is."""
    if result.score is None:
        return result
    return result.model_copy(update={"score": combine(result.components, combination, scales)})


def is_vetoed(components: Mapping[str, float], combination: Combination) -> bool:
    """Whether one of the vetoes that are known has hit."""
    return any(components.get(veto.component, math.inf) < veto.min for veto in combination.veto)


def _check_ranges(components: Mapping[str, float], combination: Combination) -> None:
    for name in (RULE, JUDGE):
        if not 0 <= components.get(name, 0.0) <= 1:
            raise ValueError(f"{name}: the score {components[name]:g} is not from 0 to 1")
    for name in combination.penalties:
        if not -1 <= components[PENALTY + name] <= 0:
            raise ValueError(f"{PENALTY}{name}: the score {components[PENALTY + name] + 1:g} is not from 0 to 1")
    if combination.rule is None or combination.preference is None or RULE not in components:
        return
    steps = components[RULE] / combination.rule.gap
    if abs(steps - round(steps)) > TOLERANCE:
        raise ValueError(
            f"rule: the score {components[RULE]:g} is no multiple of rule.gap {combination.rule.gap:g}, and the "
            "preference could change the order of scores between; set rule.gap, or leave the preference out"
        )


def soft_overlong(length: int, max_tokens: int, cache_tokens: int) -> float:
    """DAPO's length penalty (2503.14476 eq. 13) in [-1, 0]: 0 up to max - cache tokens, then linear, -1 beyond max."""
    if length <= max_tokens - cache_tokens:
        return 0.0
    if length > max_tokens:
        return -1.0
    return (max_tokens - cache_tokens - length) / cache_tokens
