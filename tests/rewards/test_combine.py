"""Scores by hand from their components, what is asked for them, and what no combination can do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rewards.combine import TOLERANCE, Combination, Scale, combine, missing, recombine
from rewards.types import RewardResult

FULL = Combination.model_validate(
    {
        "veto": [{"task": "think_format"}, {"task": "language_consistency", "reference": "en", "min": 0.9}],
        "judge": {"task": "reference_judge"},
        "preference": {"task": "preference_open", "weight": 0.3, "std": 2.0},
        "penalties": {"repetition": 0.5},
    }
)
OPEN = Combination.model_validate(
    {"veto": [{"task": "think_format"}], "rule": None, "preference": {"task": "preference_open", "weight": 0.3}}
)
FINE = {"veto/think_format": 1, "veto/language_consistency": 0.95, "penalty/repetition": 0}


@pytest.mark.parametrize(
    ("components", "score"),
    [
        ({"rule": 1, "preference": 3}, 1 + 0.3 * 1.5),
        ({"rule": 1, "preference": -3}, 1 - 0.3 * 1.5),
        ({"rule": 1, "preference": 100}, 1 + 0.3 * 3),
        ({"rule": 1, "preference": -100}, 1 - 0.3 * 3),
        ({"rule": 1, "preference/refused": 1}, 1 - 0.3 * 3),
        ({"rule": 0, "judge": 0}, 0),
        ({"rule": 0, "judge": 1, "preference": 0}, 1),
        ({"rule": 0, "judge": 1, "preference": 100}, 1 + 0.3 * 3),
        ({"rule": 0, "judge": 1, "preference": -100}, 1 - 0.3 * 3),
        ({"rule": 0, "judge": 0.5, "preference": 100}, 0.5 * (1 - 0.3 * 3)),
        ({"rule": 0, "judge": 0.25}, 0.25 * (1 - 0.3 * 3)),
        ({"rule": 1, "judge": 0, "preference": 0}, 1),
        ({"rule": 1, "preference": 0, "penalty/repetition": -0.5}, 1 - 0.25),
        ({"rule": 0, "judge": 0, "penalty/repetition": -1}, -0.5),
        ({"rule": 1, "preference": 3, "veto/think_format": 0}, 0),
        ({"rule": 1, "preference": 3, "veto/language_consistency": 0.89}, 0),
        ({"veto/language_consistency": 0.89, "penalty/repetition": -0.5}, -0.25),
    ],
)
def test_scores_by_hand(components, score):
    assert combine(FINE | components, FULL) == pytest.approx(score)


def test_without_a_rule_the_preference_has_no_gate_and_a_veto_is_the_floor():
    assert combine({"veto/think_format": 1, "preference": 1}, OPEN) == pytest.approx(0.3)
    assert combine({"veto/think_format": 1, "preference": -2}, OPEN) == pytest.approx(-0.6)
    assert combine({"veto/think_format": 0}, OPEN) == pytest.approx(-0.9)
    assert combine({"veto/think_format": 0}, OPEN) == combine({"veto/think_format": 1, "preference": -50}, OPEN)


def test_a_judge_lifts_a_graded_rule_and_never_adds_to_it():
    judged = Combination.model_validate({"judge": {"task": "j", "weight": 0.8}})
    assert combine({"rule": 0.25, "judge": 1}, judged) == 0.8
    assert combine({"rule": 0.25, "judge": 0}, judged) == 0.25
    assert combine({"rule": 0.25, "judge": 0.5}, judged) == 0.4


def test_the_least_liked_right_answer_is_above_the_best_that_is_partly_met():
    checklist = Combination.model_validate(
        {"judge": {"task": "creative_checklist"}, "preference": {"task": "p", "weight": 0.3, "clip": 3}}
    )
    least = combine({"rule": 1, "preference": -99}, checklist)
    assert combine({"rule": 0, "judge": 0.9}, checklist) == pytest.approx(0.9 * least)
    assert combine({"rule": 0, "judge": 0.25}, checklist) < combine({"rule": 0, "judge": 0.9}, checklist) < least
    open_task = checklist.model_copy(update={"rule": None})
    assert combine({"judge": 0.5, "preference": 0}, open_task) == 0.5, "without a rule a partial score is worth itself"


def test_scales_stand_for_the_configured_ones():
    known = FINE | {"rule": 1, "preference": 3}
    assert combine(known, FULL, {"preference": Scale(2.0, 0.5)}) == pytest.approx(1 + 0.3 * 2)
    result = RewardResult(score=0.25, components=known, reason="kept")
    assert recombine(result, FULL, {"preference": Scale(3.0, 1.0)}) == result.model_copy(update={"score": 1.0})
    failed = RewardResult(score=None, status="timeout", components=known)
    assert recombine(failed, FULL, {"preference": Scale(3.0, 1.0)}) is failed


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({}, ["veto/think_format", "veto/language_consistency", "rule", "penalty/repetition"]),
        ({"veto/think_format": 1, "rule": 0}, ["veto/language_consistency", "penalty/repetition"]),
        ({"veto/language_consistency": 0}, ["penalty/repetition"]),
        (FINE | {"rule": 0}, ["judge"]),
        (FINE | {"rule": 0, "judge": 1}, ["preference"]),
        (FINE | {"rule": 0, "judge": 0.5}, []),
        (FINE | {"rule": 0, "judge": 0}, []),
        (FINE | {"rule": 0, "judge": 1, "preference": 2}, []),
        (FINE | {"rule": 0.5}, ["preference"]),
        (FINE | {"rule": 1}, ["preference"]),
        (FINE | {"rule": 1, "preference": -4}, []),
        (FINE | {"rule": 1, "preference/refused": 1}, []),
        (FINE | {"rule": 0, "preference": 1}, ["judge"]),
    ],
)
def test_only_what_can_matter_is_missing(known, wanted):
    assert missing(known, FULL) == wanted


def test_open_tasks_ask_judge_and_preference_at_once():
    both = Combination.model_validate({"rule": None, "judge": {"task": "j"}, "preference": {"task": "p", "weight": 1}})
    assert missing({}, both) == ["judge", "preference"]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"rule": 1}, "preference is missing"),
        ({"rule": 1.5, "preference": 0}, "rule: the score 1.5 is not from 0 to 1"),
        ({"rule": 0, "judge": -1}, "judge: the score -1 is not from 0 to 1"),
        ({"rule": 0.6, "preference": 0}, "rule: the score 0.6 is no multiple of rule.gap 1"),
        ({"rule": 1, "preference": 0, "penalty/repetition": -3}, "penalty/repetition: the score -2 is not"),
    ],
)
def test_what_is_no_such_component_is_refused(known, reason):
    with pytest.raises(ValueError, match=reason):
        combine(FINE | known, FULL)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"rule": None}, "nothing gives a score"),
        ({"veto": [{"task": "a"}, {"task": "a"}]}, "two are called 'a'; give one of them a name"),
        ({"penalties": {"repetition": 0}}, "penalties.repetition: 0 is not above 0"),
        ({"penalties": {"repetition": math.inf}}, "penalties.repetition: inf is not above 0, or not finite"),
        ({"judge": {"task": "j", "weight": 1.5}}, "judge.weight: 1.5 is above rule.weight 1: .*set it to 1 or less"),
        (
            {"judge": {"task": "j", "gate": 0.6}, "preference": {"task": "p", "weight": 0.1}},
            "judge.gate: 0.6 is above preference.gate 0.5",
        ),
        (
            {"judge": {"task": "j", "weight": 0.8}, "preference": {"task": "p", "weight": 0.3}},
            "judge.weight: 0.8 less the 0.9 .* not above the 0 .*set it above 0.9",
        ),
        (
            {"rule": {"gap": 0.25}, "judge": {"task": "j", "weight": 0.3}, "preference": {"task": "p", "weight": 0.03}},
            "judge.weight: 0.3 less the 0.09 .* not above the 0.25",
        ),
        (
            {"preference": {"task": "p", "weight": 0.4}},
            "preference.weight: 0.4 with clip 3 moves answers by up to 1.2, not less than the 1 .*below 0.3333",
        ),
        ({"preference": {"task": "p", "weight": 0.25, "clip": 4}}, "up to 1, not less than the 1"),
        (
            {"rule": {"gap": 0.5}, "preference": {"task": "p", "weight": 0.1}},
            "moves answers by up to 0.6, not less than the 0.5",
        ),
        ({"rule": {"gap": 0.3}, "preference": {"task": "p", "weight": 0.01}}, "1 is no multiple of 0.3"),
        ({"rule": None, "preference": {"task": "p", "weight": 1, "gate": 0.5}}, "preference.gate: 0.5, but rule is"),
        ({"preference": {"task": "p", "weight": 0.1, "std": 0}}, "greater than 0"),
        ({"preference": {"task": "p", "weight": 0.1, "mean": math.nan}}, "finite"),
        ({"preferense": {}}, "Extra inputs"),
    ],
)
def test_unsound_combinations_are_refused(config, error):
    with pytest.raises(ValidationError, match=error):
        Combination.model_validate(config)


def test_the_first_sound_weight_is_accepted():
    assert Combination.model_validate({"preference": {"task": "p", "weight": 0.333}}).gate == 0.5
    assert Combination.model_validate({"rule": {"gap": 0.5}, "preference": {"task": "p", "weight": 0.08}})
    assert Combination.model_validate({"rule": {"gap": 0.5}, "preference": {"task": "p", "weight": 0.16, "gate": 0.6}})


def test_two_vetoes_of_a_task_have_names():
    vetoes = [{"task": "t", "name": "thinking"}, {"task": "t"}]
    assert missing({}, Combination.model_validate({"veto": vetoes})) == ["veto/thinking", "veto/t", "rule"]


logits = st.floats(-1e6, 1e6)
weights = st.floats(1e-3, 10)
shares = st.floats(0, 1)


@st.composite
def sound(draw):
    """A combination of a rule and a preference, up to the bound of the config, and two scores of the rule."""
    steps, clip, weight = draw(st.integers(1, 8)), draw(st.floats(0.1, 5)), draw(weights)
    scale = {"mean": draw(st.floats(-10, 10)), "std": draw(st.floats(0.1, 10))}
    most = draw(st.floats(0.01, 0.999)) * weight / steps / clip
    preference = {"task": "p", "clip": clip, "gate": draw(st.floats(0.01, 1)), **scale}
    config = {"rule": {"weight": weight, "gap": 1 / steps}, "veto": [{"task": "v"}], "penalties": {"r": draw(weights)}}
    try:
        combination = Combination.model_validate(config | {"preference": preference | {"weight": most}})
    except ValidationError:  # two scores of the rule pass the gate
        combination = Combination.model_validate(config | {"preference": preference | {"weight": most / 2}})
    low = draw(st.integers(0, steps - 1))
    return combination, low / steps, draw(st.integers(low + 1, steps)) / steps


@given(sound(), logits, logits, shares)
def test_the_preference_never_changes_the_order_of_the_rule(case, logit, other, penalty):
    combination, low, high = case
    known = {"veto/v": 1, "penalty/r": -penalty}
    worse = combine(known | {"rule": low, "preference": logit}, combination)
    assert worse < combine(known | {"rule": high, "preference": other}, combination)


@st.composite
def judged(draw):
    """A combination of rule, judge and preference, and the components of an answer that one of the first two accepts,
    and of one that both refuse."""
    combination, _, _ = draw(sound())
    rule = combination.rule
    judge = {"task": "j", "weight": rule.weight * draw(shares), "gate": combination.gate * draw(st.floats(0.01, 1))}
    config = combination.model_dump() | {"judge": judge}
    try:
        combination = Combination.model_validate(config)
    except ValidationError:  # the judge's weight is too low
        combination = Combination.model_validate(config | {"judge": judge | {"weight": rule.weight}})
    steps = round(1 / rule.gap)
    scores = [step / steps for step in range(steps + 1)]
    refused = [score for score in scores if score < combination.judge.gate - TOLERANCE]
    worse = {"rule": draw(st.sampled_from(refused)), "judge": draw(st.floats(0, 1 - 1e-5))}
    better = {"rule": draw(st.sampled_from([*refused, *(s for s in scores if s >= combination.gate)])), "judge": 1.0}
    return combination, better | {"preference": draw(logits)}, worse


@given(judged())
def test_what_both_refuse_is_below_all_that_either_accepts(case):
    combination, better, worse = case
    known = {"veto/v": 1, "penalty/r": 0}
    assert missing(known | worse, combination) == []
    assert combine(known | worse, combination) < combine(known | better, combination)


@given(sound(), logits, shares)
def test_a_veto_wins(case, logit, penalty):
    combination, low, high = case
    known = {"preference": logit, "penalty/r": -penalty}
    for score in (low, high):
        vetoed = combine(known | {"rule": score, "veto/v": 0.99}, combination)
        assert vetoed == pytest.approx(-combination.penalties["r"] * penalty)
        assert vetoed <= combine(known | {"rule": score, "veto/v": 1}, combination)


@given(logits, st.floats(0, 1, exclude_max=True))
def test_a_veto_wins_without_a_rule(logit, veto):
    assert combine({"veto/think_format": veto}, OPEN) <= combine({"veto/think_format": 1, "preference": logit}, OPEN)


@given(shares, shares, shares, shares)
def test_monotone_in_the_rule(one, two, judge, penalty):
    """And in the judge, up to which no answer that the rule refuses passes the best that it accepts."""
    judged = Combination.model_validate({"judge": {"task": "j", "gate": 1.0}, "penalties": {"r": 1.0}})
    low, high = sorted((one, two))
    known = {"judge": judge, "penalty/r": -penalty}
    assert combine(known | {"rule": low}, judged) <= combine(known | {"rule": high}, judged)
    assert combine(known | {"rule": low}, judged) <= combine(known | {"rule": 1.0}, judged)


@given(st.dictionaries(st.sampled_from([*FINE, "rule", "judge", "preference", "preference/refused"]), shares))
def test_whatever_is_known_what_is_missing_completes_it(known):
    components = dict(known)
    components.update({name: round(components[name]) for name in ("rule",) if name in components})
    components.update({name: -value for name, value in components.items() if name.startswith("penalty/")})
    for _ in range(3):
        for name in missing(components, FULL):
            components[name] = 0 if name.startswith("penalty/") else 1
    assert missing(components, FULL) == []
    assert math.isfinite(combine(components, FULL))


def test_a_veto_may_be_the_name_of_its_task():
    assert Combination.model_validate({"veto": ["a"]}) == Combination.model_validate({"veto": [{"task": "a"}]})


@given(st.permutations("abc"), st.permutations([0, 1]), shares)
def test_the_order_of_components_changes_nothing(names, vetoes, rule):
    weights_by_name = {"a": 0.1, "b": 0.2, "c": 0.3}  # their sum in floats depends on the order
    known = FINE | {"rule": round(rule), "judge": 1, "preference": 1} | {f"penalty/{n}": -1 for n in weights_by_name}
    config = FULL.model_dump() | {"penalties": weights_by_name}
    shuffled = config | {
        "veto": [config["veto"][index] for index in vetoes],
        "penalties": {name: weights_by_name[name] for name in names},
    }
    one, two = (Combination.model_validate(each) for each in (config, shuffled))
    assert combine(known, one) == combine(dict(reversed(known.items())), two)
