"""Graders of maths side by side: a response and a reference to right or wrong, in the process that asks."""

import logging
from collections.abc import Callable

Grader = Callable[[str, str], bool]


def sharpen() -> Grader:
    """The function of our task `math`, without worker or limits."""
    from rewards.registry import load_tasks
    from rewards.types import RewardRequest, RewardResult
    from rewards.verifiers.expressions import load_expressions

    task = load_tasks()["math"]
    load_expressions()

    def grade(response: str, reference: str) -> bool:
        result = task.judge(RewardRequest(task="math", response=response, reference=reference))
        assert isinstance(result, RewardResult), "no judge is asked"
        return result.score == 1

    return grade


def math_verify() -> Grader:
    """Math-Verify as its README recommends it for RL: parse both sides, box first, and verify. Main thread only."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    normalization = NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=False, nits=False, boxed="all", equations=False
    )
    latex = LatexExtractionConfig(normalization_config=normalization, boxed_match_priority=0)

    def grade(response: str, reference: str) -> bool:
        gold = parse(f"${reference.strip('$')}$", extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()])
        target = parse(response, extraction_config=[latex, ExprExtractionConfig()])
        return bool(verify(gold, target))

    return grade


def verl_math_reward() -> Grader:
    """verl's string comparison of the last box."""
    from verl.utils.reward_score import math_reward

    return lambda response, reference: math_reward.compute_score(response, reference) == 1


def verl_math_dapo() -> Grader:
    """verl's grader of DAPO, told to look at the box."""
    from verl.utils.reward_score import math_dapo

    return lambda response, reference: bool(math_dapo.compute_score(response, reference, strict_box_verify=True)["acc"])


GRADERS: dict[str, Callable[[], Grader]] = {
    "sharpen": sharpen,
    "math_verify": math_verify,
    "verl_math_reward": verl_math_reward,
    "verl_math_dapo": verl_math_dapo,
}
