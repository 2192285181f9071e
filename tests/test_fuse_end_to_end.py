"""Fusion as a user runs it, and SFT on what it makes."""

import json

import pytest

from rl.log import read_metrics
from tests.commands import finish, kill_at_journal_and_resume, start_run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "name"), [("fuse", "conversations.jsonl"), ("select", "rl_prompts.jsonl"), ("curate", "queries.jsonl")]
)
def test_data_of_a_run_killed_and_resumed_is_the_same(tmp_path, recipe, name):
    config = f"configs/smoke/{recipe}.yaml"
    finish(start_run(config, tmp_path, "log.name=whole"))
    cut = kill_at_journal_and_resume(config, tmp_path)
    made = (tmp_path / "whole/data" / name).read_text()
    assert made.count("\n") >= 8
    assert (cut / "data" / name).read_text() == made


@pytest.mark.slow
def test_a_fused_set_can_be_learned_from(tmp_path):
    finish(start_run("configs/smoke/fuse.yaml", tmp_path, "log.name=fused"))
    path = tmp_path / "fused/data/conversations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["mode"] for row in rows} == {"think", "no_think"}
    assert {row["flags"] for row in rows} == {"none", "one", "several"}
    (measured,) = read_metrics(tmp_path / "fused")
    assert measured["fuse/conversations"] == len(rows)
    assert measured["curate/responses_by_rules/dropped/wrong_answer"] > 0
    changes = [f"sources=[{{path: {path}}}]", "max_tokens=512", "num_steps=2"]
    finish(start_run("configs/smoke/sft.yaml", tmp_path, "log.name=sft", *changes))
    assert read_metrics(tmp_path / "sft")[-1]["loss/cross_entropy"] > 0
