"""What episodes say of the use of tools, in training and in evaluations."""

from collections import Counter
from collections.abc import Sequence

from rl.types import StepMetrics
from rollout.types import Episode

MAX_TOOLS = 64  # the commonest: names may come from an environment outside the tree, and each is a column for good


def episode_metrics(prefix: str, episodes: Sequence[Episode]) -> StepMetrics:
    """Turns, mistakes and tools of the samples that had an environment; nothing where none had.

    A tool's rate is the share of these samples in which it was called rightly at least once.
    """
    if not episodes:
        return {}
    observations = [message for episode in episodes for message in episode.observations]
    used = Counter(
        name for episode in episodes for name in {str(m["tool"]) for m in episode.observations if "tool" in m}
    )
    num_errors = sum(message.get("error") is True for message in observations)
    return {
        f"{prefix}/turns_mean": sum(len(episode.turns) for episode in episodes) / len(episodes),
        f"{prefix}/tool_errors_rate": num_errors / len(observations) if observations else float("nan"),
    } | {f"{prefix}/tool/{name}/rate": count / len(episodes) for name, count in sorted(used.most_common(MAX_TOOLS))}
