"""The log at its edges: names that collide, values that are no JSON, trackers that are not there."""

import json
import logging
import sys
from datetime import datetime
from types import SimpleNamespace
from typing import ClassVar

import pytest

from rl.log import LogConfig, RunLog, new_run_folder
from rl.progress import Progress
from rl.sample_rows import scored_rows
from tests.fakes import make_scored


def make_log(folder, **config):
    return RunLog(folder, LogConfig(**({"sinks": []} | config)), recipe="grpo", num_steps=3)


def test_two_runs_begun_in_one_second_have_two_folders(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=lambda: datetime(2026, 1, 2, 3, 4, 5))
    monkeypatch.setattr("rl.log.datetime", clock)
    names = [new_run_folder(LogConfig(dir=str(tmp_path)), "grpo").name for _ in range(3)]
    assert names == ["grpo-20260102-030405", "grpo-20260102-030405-2", "grpo-20260102-030405-3"]


def test_a_component_that_is_no_number_is_null_in_the_samples(tmp_path):
    group = make_scored([1.0])
    group.rewards[0].components.update(answer=float("nan"), format=float("inf"))
    with make_log(tmp_path) as log:
        log.write_samples(1, scored_rows([group], [[0.5]]))
    row = json.loads((tmp_path / "samples" / "step-1.jsonl").read_text(), parse_constant=pytest.fail)
    assert row["responses"][0]["components"] == {"answer": None, "format": None}


def test_a_suite_with_a_slash_in_its_name_has_a_file(tmp_path):
    with make_log(tmp_path) as log:
        log.write_eval_rows("my/suite", 2, [{"id": "a"}])
    assert [path.name for path in (tmp_path / "evals").iterdir()] == ["my-suite-step-2.jsonl"]


def test_log_records_of_our_packages_and_the_cause_of_a_stop_are_in_log_txt(tmp_path):
    def run():
        with make_log(tmp_path):
            logging.getLogger("rewards.judge").warning("the judge is slow")
            raise RuntimeError("the engine died")

    with pytest.raises(RuntimeError):
        run()
    text = (tmp_path / "log.txt").read_text()
    assert "the judge is slow" in text
    assert "RuntimeError: the engine died" in text
    assert not logging.getLogger("rewards").handlers


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "swanlab", None)
    log = make_log(tmp_path / "mine", sinks=["swanlab"])
    with pytest.raises(ValueError, match=r"log\.sinks: swanlab needs the package swanlab: pip install swanlab"):
        log.__enter__()
    handlers = logging.getLogger("sharpen.mine").handlers
    assert not [one for one in handlers if isinstance(one, logging.FileHandler)], "what was open is closed"


def test_a_tracker_gets_finite_values_and_is_closed_with_the_run(tmp_path, monkeypatch):
    class Tracking:
        seen: ClassVar[list] = []

        def __init__(self, **names):
            self.logger = {names["default_backend"]: self}
            self.seen.append(names)

        def log(self, data, step):
            self.seen.append((step, sorted(data)))

        def finish(self):
            self.seen.append("finished")

    monkeypatch.setattr("verl.utils.tracking.Tracking", Tracking)
    with make_log(tmp_path / "mine", sinks=["wandb"]) as log:
        log.write(1, {"reward/mean": 0.5, "policy/entropy": float("nan")})
    opened, (step, names), end = Tracking.seen
    assert opened == {"project_name": "sharpen", "experiment_name": "mine", "default_backend": "wandb"}
    assert step == 1
    assert "reward/mean" in names
    assert "policy/entropy" not in names
    assert end == "finished"


def test_forced_colours_do_not_make_a_file_a_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not Progress(1).console.is_terminal
