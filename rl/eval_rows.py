"""Rows of an evaluation: a prompt with every response and verdict, from which alone its numbers are made."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewards.types import RewardResult
from rl.budget_curve import is_thinking_cut
from rl.episode_metrics import episode_metrics
from rl.statistics import consensus, mean_and_error, pass_at_k, ratio_and_error, sampling_error
from rl.types import StepMetrics
from rollout.types import Episode, Group, Sample

EvalRow = dict[str, Any]
Verdicts = Sequence[RewardResult]  # one a sample
# Each component of their results is an instruction, followed or not.
INSTRUCTION_TASKS = {"ifeval", "ifbench_other_constraints"}


def make_row(group: Group, verdicts: Mapping[str, Verdicts]) -> EvalRow:
    """One prompt with all its responses, as it is kept in the run folder; `verdicts` by parser."""
    return {
        "id": group.prompt.id,
        "task": group.prompt.task,
        "messages": [dict(message) for message in group.prompt.messages],
        "reference": group.prompt.reference,
        "responses": [
            _response(group, sample, {extract: results[number] for extract, results in verdicts.items()})
            for number, sample in enumerate(group.samples)
        ],
    }


def _response(group: Group, sample: Sample, verdicts: Mapping[str, RewardResult]) -> dict[str, Any]:
    cut = is_thinking_cut(group, sample)
    told: dict[str, Any] = {} if cut is None else {"thinking_cut": cut}
    if sample.episode is not None:
        told["episode"] = [_plain(message) for message in sample.episode.messages]
    return told | {
        "text": sample.text,
        "length": sample.num_sampled,
        "finish_reason": sample.finish_reason,
        "scores": {extract: verdict.score for extract, verdict in verdicts.items()},
        "extracted": {extract: verdict.extracted for extract, verdict in verdicts.items()},
        "components": {
            f"{extract}/{name}": value
            for extract, verdict in verdicts.items()
            for name, value in verdict.components.items()
        },
    }


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message any file can hold; an environment's state may be anything."""
    return {name: value for name, value in message.items() if isinstance(value, str | float | int | None)}


def is_complete(row: EvalRow, num_samples: int, extracts: Sequence[str]) -> bool:
    """Whether a row read back has all the responses that are wanted, judged by all the parsers."""
    if not row.keys() >= {"id", "task", "responses"} or len(row["responses"]) != num_samples:
        return False
    return all(response["scores"].keys() == {*extracts} for response in row["responses"])


def response_metrics(suite: str, rows: Sequence[EvalRow]) -> StepMetrics:
    """What is counted of the responses, whatever they are worth."""
    responses = [response for row in rows for response in row["responses"]]
    cuts = [response["thinking_cut"] for response in responses if "thinking_cut" in response]
    episodes = [Episode(messages=tuple(r["episode"])) for r in responses if "episode" in r]
    metrics = {
        f"eval/{suite}/num_prompts": float(len(rows)),
        f"eval/{suite}/response_length": sum(r["length"] for r in responses) / len(responses),
        f"eval/{suite}/truncated_rate": sum(r["finish_reason"] == "length" for r in responses) / len(responses),
    }
    if cuts:
        metrics[f"eval/{suite}/thinking_cut_rate"] = sum(cuts) / len(cuts)
    return metrics | episode_metrics(f"eval/{suite}", episodes)


def prompt_means(rows: Sequence[EvalRow], extract: str) -> dict[str, float]:
    """The mean score of each prompt's scored samples; a prompt without any drops out."""
    scored = {row["id"]: [response["scores"][extract] for response in _scored(row, extract)] for row in rows}
    return {key: sum(scores) / len(scores) for key, scores in scored.items() if scores}


def score_metrics(
    name: str, rows: Sequence[EvalRow], extract: str, *, num_samples: int, pass_k: Sequence[int], votes: bool
) -> StepMetrics:
    """What a parser makes of all rows, under `eval/NAME/`; `votes`: what it reads are answers that may agree.

    Unscored samples are left out and counted; a prompt without any scored sample drops out.
    """
    usable = [found for row in rows if (found := _scored(row, extract))]
    scores = [[response["scores"][extract] for response in found] for found in usable]
    total = sum(len(row["responses"]) for row in rows)
    metrics = {
        f"eval/{name}/error_rate": 1 - sum(map(len, scores)) / total,
        f"eval/{name}/unscored_prompts": float(len(rows) - len(usable)),
    }
    if not usable:
        return metrics
    mean, error = mean_and_error(list(prompt_means(rows, extract).values()))
    metrics |= {
        f"eval/{name}/avg@{num_samples}": mean,
        f"eval/{name}/se@{num_samples}": error,
        f"eval/{name}/sampling_se@{num_samples}": sampling_error(scores),
    }
    if num_samples > 1 and votes:
        read = [[response["extracted"][extract] for response in found] for found in usable]
        chosen = list(map(consensus, read, scores))
        metrics[f"eval/{name}/cons@{num_samples}"] = sum(chosen) / len(chosen)
    for p in pass_k:
        values = [pass_at_k(len(s), sum(x >= 1 for x in s), p) for s in scores if len(s) >= p]
        if values:
            metrics[f"eval/{name}/pass@{p}"] = sum(values) / len(values)
    return metrics | _instruction_metrics(name, rows, extract, num_samples)


def _instruction_metrics(name: str, rows: Sequence[EvalRow], extract: str, num_samples: int) -> StepMetrics:
    """The share of all instructions that was followed (IFEval, 2311.07911), and its error over prompts."""
    counts = [found for row in rows if row["task"] in INSTRUCTION_TASKS and (found := followed(row, extract))]
    if not counts:
        return {}
    share, error = ratio_and_error(list(map(sum, counts)), list(map(len, counts)))
    return {f"eval/{name}/instruction_avg@{num_samples}": share, f"eval/{name}/instruction_se@{num_samples}": error}


def followed(row: EvalRow, extract: str) -> list[bool]:
    """Of each instruction in each scored sample of a prompt, whether it was followed."""
    return [
        value >= 1
        for response in _scored(row, extract)
        for name, value in response["components"].items()
        if name.startswith(f"{extract}/")
    ]


def _scored(row: EvalRow, extract: str) -> list[dict[str, Any]]:
    return [response for response in row["responses"] if response["scores"][extract] is not None]
