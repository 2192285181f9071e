"""Evaluations in the output layout of lm-evaluation-harness 0.4, for its tools and for numbers side by side."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rl.config import EvaluateConfig
from rl.eval_rows import INSTRUCTION_TASKS, EvalRow, followed
from rl.evals import EvalConfig
from rl.log import as_json
from rl.suites import find_suite
from rl.types import StepMetrics

VERSION = 1.0  # of how our suites ask; another one's numbers are of other questions
# The harness names what a suite measures; where it has no name of ours, a parser is one of its filters.
NAMES = {"strict": ("prompt_level_strict_acc", "none"), "loose": ("prompt_level_loose_acc", "none")}
INSTRUCTION_NAMES = {"strict": "inst_level_strict_acc", "loose": "inst_level_loose_acc"}
DEFAULT_NAME = "exact_match"


def write_lm_eval(
    folder: Path, config: EvaluateConfig, metrics: StepMetrics, rows: Mapping[str, Sequence[EvalRow]]
) -> Path:
    """`FOLDER/MODEL/results_DATE.json` and a `samples_SUITE_DATE.jsonl` a suite; answers with the results' path."""
    now = datetime.now()
    date = now.isoformat().replace(":", "-")
    target = folder / _safe(config.model)
    target.mkdir(parents=True, exist_ok=True)
    suites = [suite for suite in config.evals if suite.suite in rows]
    samples = {_safe(suite.suite): list(_samples(suite, rows[suite.suite])) for suite in suites}
    for task, lines in samples.items():
        text = "".join(json.dumps(as_json(line), ensure_ascii=False) + "\n" for line in lines)
        (target / f"samples_{task}_{date}.jsonl").write_text(text, encoding="utf-8", errors="backslashreplace")
    results = _results(config, suites, metrics) | {
        "task_hashes": {task: _hash("".join(_identity(line) for line in lines)) for task, lines in samples.items()},
        "date": now.timestamp(),
    }
    path = target / f"results_{date}.json"
    path.write_text(json.dumps(as_json(results), indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def _results(config: EvaluateConfig, suites: Sequence[EvalConfig], metrics: StepMetrics) -> dict[str, Any]:
    tasks = {_safe(suite.suite): suite for suite in suites}
    num_examples = {task: len(_examples(suite)) // 2 for task, suite in tasks.items()}
    return {
        "results": {task: _task_metrics(task, suite, metrics) for task, suite in tasks.items()},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: _task_config(task, suite, num_examples[task]) for task, suite in tasks.items()},
        "versions": dict.fromkeys(tasks, VERSION),
        "n-shot": num_examples,
        "higher_is_better": {task: dict.fromkeys(_names(suite), True) for task, suite in tasks.items()},
        "n-samples": {task: _num_samples(suite, metrics) for task, suite in tasks.items()},
        "config": {
            "model": "sharpen",
            "model_args": {"pretrained": config.model, "dtype": config.engine.dtype},
            "batch_size": "auto",
            "bootstrap_iters": 0,
            "random_seed": config.seed,
        },
        "model_source": "sharpen",
        "model_name": config.model,
        "model_name_sanitized": _safe(config.model),
    }


def _task_metrics(task: str, suite: EvalConfig, metrics: StepMetrics) -> dict[str, Any]:
    """The average as the harness names it, with the question error as its stderr; the others under our names."""
    k = suite.samples_per_prompt
    found: dict[str, Any] = {"alias": task, "sample_len": int(metrics[f"eval/{suite.suite}/num_prompts"])}
    for number, parser in enumerate(suite.extracts):
        prefix = f"eval/{suite.suite}" if number == 0 else f"eval/{suite.suite}/{parser}"
        name, filtered = NAMES.get(parser, (DEFAULT_NAME, parser))
        if f"{prefix}/avg@{k}" not in metrics:
            continue
        error = as_json(metrics[f"{prefix}/se@{k}"])
        found[f"{name},{filtered}"] = metrics[f"{prefix}/avg@{k}"]
        found[f"{name}_stderr,{filtered}"] = "N/A" if error is None else error
        if f"{prefix}/instruction_avg@{k}" in metrics and parser in INSTRUCTION_NAMES:
            error = as_json(metrics[f"{prefix}/instruction_se@{k}"])
            found[f"{INSTRUCTION_NAMES[parser]},{filtered}"] = metrics[f"{prefix}/instruction_avg@{k}"]
            found[f"{INSTRUCTION_NAMES[parser]}_stderr,{filtered}"] = "N/A" if error is None else error
        for other in (f"sampling_se@{k}", f"cons@{k}", *(f"pass@{p}" for p in suite.pass_k), "error_rate"):
            value = as_json(metrics.get(f"{prefix}/{other}"))
            if value is not None:
                found[f"{other},{parser}"] = value
    for other in ("response_length", "truncated_rate"):
        found[f"{other},none"] = metrics[f"eval/{suite.suite}/{other}"]
    return found


def _task_config(task: str, suite: EvalConfig, num_examples: int) -> dict[str, Any]:
    known = find_suite(suite.suite, suite.source is not None)
    origin = suite.path or (known.dataset if known else suite.source and suite.source.label) or task
    return {
        "task": task,
        "dataset_path": origin,
        "dataset_name": known.name if known else None,
        "test_split": known.split if known else suite.source and suite.source.split,
        "output_type": "generate_until",
        "num_fewshot": num_examples,
        "repeats": suite.samples_per_prompt,
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in _names(suite)],
        "generation_kwargs": _generation(suite),
        "metadata": {"version": VERSION, "mode": suite.mode},
    }


def _samples(suite: EvalConfig, rows: Iterable[EvalRow]) -> Iterable[dict[str, Any]]:
    """A line for each prompt and filter."""
    filters: dict[str, list[str]] = {}
    for parser in suite.extracts:
        filters.setdefault(NAMES.get(parser, (DEFAULT_NAME, parser))[1], []).append(parser)
    for filtered, parsers in filters.items():
        for number, row in enumerate(rows):
            yield _sample(suite, number, row, filtered, parsers)


def _sample(suite: EvalConfig, number: int, row: EvalRow, filtered: str, parsers: Sequence[str]) -> dict[str, Any]:
    responses, reference = row["responses"], row["reference"]
    prompt = json.dumps(row["messages"], ensure_ascii=False)
    target = reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False)
    doc = {"id": row["id"], "question": row["messages"][-1]["content"], "answer": target}
    answers = [response["extracted"][parsers[0]] or "" for response in responses]
    scores: dict[str, Any] = {NAMES.get(p, (DEFAULT_NAME, p))[0]: _mean(responses, p) for p in parsers}
    if _has_instructions(suite):
        scores |= {INSTRUCTION_NAMES[p]: followed(row, p) for p in parsers if p in INSTRUCTION_NAMES}
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": _generation(suite)}},
        "resps": [[response["text"] for response in responses]],
        "filtered_resps": answers if len(answers) == 1 else [answers],
        "filter": filtered,
        "metrics": list(scores),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(target),
        **scores,
    }


def _mean(responses: Sequence[Mapping[str, Any]], parser: str) -> float | None:
    scores = [response["scores"][parser] for response in responses if response["scores"][parser] is not None]
    return sum(scores) / len(scores) if scores else None


def _names(suite: EvalConfig) -> list[str]:
    names = [NAMES.get(parser, (DEFAULT_NAME, parser))[0] for parser in suite.extracts]
    if _has_instructions(suite):
        names += [INSTRUCTION_NAMES[parser] for parser in suite.extracts if parser in INSTRUCTION_NAMES]
    return list(dict.fromkeys(names))


def _has_instructions(suite: EvalConfig) -> bool:
    known = find_suite(suite.suite, suite.source is not None)
    return (known.task if known else suite.source and suite.source.task) in INSTRUCTION_TASKS


def _examples(suite: EvalConfig) -> Sequence[Mapping[str, str]]:
    known = find_suite(suite.suite, suite.source is not None)
    return known.examples if known else suite.source.examples if suite.source else ()


def _num_samples(suite: EvalConfig, metrics: StepMetrics) -> dict[str, int]:
    known = find_suite(suite.suite, suite.source is not None)
    effective = int(metrics[f"eval/{suite.suite}/num_prompts"])
    return {"original": (known.num_rows if known else None) or effective, "effective": effective}


def _generation(suite: EvalConfig) -> dict[str, Any]:
    """Sampling under the harness's names."""
    values = suite.sampling.model_dump()
    return {"until": [], "do_sample": values["temperature"] > 0, "max_gen_toks": values.pop("max_tokens"), **values}


def _safe(name: str) -> str:
    """A name as the harness makes it a file's."""
    return re.sub(r'["<>:/|\\?*\[\]]+', "__", name)


def _identity(line: Mapping[str, Any]) -> str:
    return str(line["doc_hash"] + line["prompt_hash"] + line["target_hash"])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
