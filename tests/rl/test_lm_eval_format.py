"""Results in lm-evaluation-harness's layout: the names and shapes that its readers look for."""

import hashlib
import json
import re

import pytest

from rl.config import EvaluateConfig
from rl.evals import Evals, read_suites
from rl.lm_eval_format import write_lm_eval
from tests.fakes import FakeEvalLog, FakeSampler, FakeScorer

DATE = r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\.\d+"
# Of every line of samples in lm-eval 0.4.13 (`lm_eval/result_schema.py`, SampleResult).
SAMPLE_FIELDS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
}  # fmt: skip


@pytest.fixture
async def written(tmp_path):
    """Two AIME problems with four samples each, and one instruction with one."""
    problems = [{"problem": "one?", "answer": 1}, {"problem": "two?", "answer": 2}]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    row = {"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "ifeval.jsonl").write_text(json.dumps(row) + "\n")
    evals = [
        {"suite": "aime24", "path": str(tmp_path / "aime.jsonl"), "samples_per_prompt": 4, "mode": "thinking"},
        {"suite": "ifeval", "path": str(tmp_path / "ifeval.jsonl")},
    ]
    config = EvaluateConfig.model_validate({"model": "some/model", "evals": evals})
    sampler = FakeSampler(lambda p: ["1", "2", "answer: 2", "broken"] if p.task == "math_int" else ["It."])
    log = FakeEvalLog()
    run = Evals(config.evals, sampler, FakeScorer(), log, seed=0, num_steps=0, prompts=read_suites(config.evals))
    metrics = await run.run_if_first(0)
    path = write_lm_eval(tmp_path / "out", config, metrics, {name: rows for (name, _), rows in log.rows.items()})
    return path, metrics


async def test_instructions_have_the_harness_s_names(tmp_path):
    row = {"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"] * 2, "kwargs": [{}, {}]}
    (tmp_path / "ifeval.jsonl").write_text(json.dumps(row) + "\n")
    evals = [{"suite": "ifeval", "path": str(tmp_path / "ifeval.jsonl")}]
    config = EvaluateConfig.model_validate({"model": "some/model", "evals": evals})
    scorer, log = FakeScorer(one=1.0, other=0.0), FakeEvalLog()
    run = Evals(config.evals, FakeSampler(lambda p: ["It."]), scorer, log, seed=0, num_steps=0)
    metrics = await run.run_if_first(0)
    path = write_lm_eval(tmp_path / "out", config, metrics, {"ifeval": log.rows["ifeval", 0]})
    results = json.loads(path.read_text())
    names = ["prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc"]
    found = results["results"]["ifeval"]
    assert [found[f"{name},none"] for name in names] == [0, 0, 0.5, 0.5]
    assert found["inst_level_strict_acc_stderr,none"] == "N/A", "one prompt has no error"
    assert list(results["higher_is_better"]["ifeval"]) == names
    (line,) = samples_of(path, "ifeval")
    assert set(line) == SAMPLE_FIELDS | set(names)
    assert line["inst_level_strict_acc"] == [True, False]


def samples_of(path, task):
    (file,) = path.parent.glob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_the_files_have_the_names_that_its_tools_look_for(written):
    path, _ = written
    assert path.parent.name == "some__model"
    names = sorted(file.name for file in path.parent.iterdir())
    patterns = [rf"results_{DATE}\.json", rf"samples_aime24_{DATE}\.jsonl", rf"samples_ifeval_{DATE}\.jsonl"]
    assert all(re.fullmatch(pattern, name) for pattern, name in zip(patterns, names, strict=True))
    assert len({name.rpartition("_")[2].partition(".json")[0] for name in names}) == 1, "one date for all"


async def test_the_results_hold_value_and_error_by_metric_and_filter(written):
    path, metrics = written
    results = json.loads(path.read_text())
    aime = results["results"]["aime24"]
    assert aime["exact_match,boxed"] == metrics["eval/aime24/avg@4"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert aime["exact_match,lenient"] == metrics["eval/aime24/lenient/avg@4"] == pytest.approx(1 / 2)
    assert aime["exact_match_stderr,boxed"] == metrics["eval/aime24/se@4"]
    assert aime["sampling_se@4,boxed"] == metrics["eval/aime24/sampling_se@4"]
    assert (aime["alias"], aime["sample_len"], aime["error_rate,boxed"]) == ("aime24", 2, 0.25)
    assert results["results"]["ifeval"]["prompt_level_strict_acc,none"] == metrics["eval/ifeval/avg@1"]
    assert results["results"]["ifeval"]["prompt_level_strict_acc_stderr,none"] == "N/A", "one prompt has no error"
    assert results["n-samples"]["aime24"] == {"original": 30, "effective": 2}
    assert results["n-shot"] == {"aime24": 0, "ifeval": 0}
    assert set(results["versions"]) == {"aime24", "ifeval"}
    assert results["higher_is_better"]["aime24"] == {"exact_match": True}
    config = results["configs"]["aime24"]
    assert (config["output_type"], config["repeats"]) == ("generate_until", 4)
    assert config["generation_kwargs"]["max_gen_toks"] == 38912
    assert [metric["metric"] for metric in config["metric_list"]] == ["exact_match"]


async def test_a_line_of_samples_for_each_question_and_filter(written):
    path, _ = written
    lines = samples_of(path, "aime24")
    assert [(line["doc_id"], line["filter"]) for line in lines] == [
        (0, "boxed"), (1, "boxed"), (0, "lenient"), (1, "lenient"),
    ]  # fmt: skip
    assert all(set(line) == SAMPLE_FIELDS | {"exact_match"} for line in lines)
    first = lines[0]
    assert first["resps"] == [["1", "2", "answer: 2", "broken"]]
    assert first["filtered_resps"] == [["1", "2", "answer: 2", ""]]
    assert first["exact_match"] == pytest.approx(1 / 3)
    assert json.loads(first["arguments"]["gen_args_0"]["arg_0"])[0]["content"].startswith("one?")
    text = json.dumps(first["doc"], indent=2, ensure_ascii=False)
    assert first["doc_hash"] == hashlib.sha256(text.encode()).hexdigest()
    (instruction,) = samples_of(path, "ifeval")
    assert {"prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc"} <= set(instruction)
    assert instruction["filter"] == "none"
    assert json.loads(instruction["target"])["kwargs"] == [{}]


async def test_the_harness_s_own_table_reads_it(written):
    """Where lm-eval is installed beside us, which nothing here needs."""
    utilities = pytest.importorskip("lm_eval.utils")
    pytest.importorskip("pytablewriter")
    path, _ = written
    results = json.loads(path.read_text())
    table = utilities.make_table(results)
    assert re.search(r"exact_match\s*\|↑\s*\|0\.3333\|±\s*\|\s*0", table), table
    assert utilities.get_results_filenames([str(path)]) == [str(path)]
