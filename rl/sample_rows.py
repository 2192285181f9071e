"""What the run folder keeps of a step's responses: one row a group."""

from collections.abc import Sequence
from typing import Any

from rl.types import ScoredGroup, StudentGroup
from rollout.types import Group, Sample


def scored_rows(groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Every response with every component of its reward."""
    return [
        _row(
            scored.group,
            scored.draw,
            [
                {
                    "score": reward.score,
                    "status": reward.status,
                    "components": reward.components,
                    "extracted": reward.extracted,
                    "reason": reward.reason,
                    "advantage": advantage,
                }
                for reward, advantage in zip(scored.rewards, values, strict=True)
            ],
        )
        for scored, values in zip(groups, advantages, strict=True)
    ]


def student_rows(groups: Sequence[StudentGroup]) -> list[dict[str, Any]]:
    """Every response, and whether it was taught; nobody has judged it."""
    return [
        _row(student.group, student.draw, [{"score": None, "status": _status(known)} for known in student.is_known])
        for student in groups
    ]


def _status(is_known: bool) -> str:
    return "taught" if is_known else "unknown_to_teacher"


def _row(group: Group, draw: int, verdicts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": group.prompt.id,
        "draw": draw,
        "task": group.prompt.task,
        "messages": [dict(message) for message in group.prompt.messages],
        "reference": group.prompt.reference,
        "responses": [
            {"text": sample.text} | verdict | _facts(sample)
            for sample, verdict in zip(group.samples, verdicts, strict=True)
        ],
    }


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "length": sample.num_sampled,
        "finish_reason": sample.finish_reason,
        "policy_version": sample.policy_version,
    }
