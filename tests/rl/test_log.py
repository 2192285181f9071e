"""The run folder: rows, samples, resume, full disks and sinks."""

import json
import logging
import math

import pytest
from pydantic import ValidationError

from rl.log import LogConfig, RunLog, as_json, deterministic, new_run_folder, read_metrics
from rl.sample_rows import scored_rows
from tests.fakes import make_scored


def make_log(folder, **config):
    folder.mkdir(exist_ok=True)
    return RunLog(folder, LogConfig(**({"sinks": []} | config)), recipe="grpo", num_steps=10)


def lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_a_row_holds_step_metrics_and_wall_clock(tmp_path):
    with make_log(tmp_path) as log:
        with log.timer("collect"), log.timer("learn"):
            pass
        log.write(1, {"reward/mean": 0.5, "rollout/tokens": 30.0, "pack/trained_tokens": 20.0})
        log.write(2, {"reward/mean": 0.75})
    first, second = read_metrics(tmp_path)
    assert first["step"] == 1
    assert first["reward/mean"] == 0.5
    assert first["time/step_s"] >= first["time/collect_s"] >= first["time/learn_s"] > 0
    assert first["throughput/tokens_per_s"] == pytest.approx(20 / first["time/step_s"])
    assert first["rollout/tokens_per_s"] == pytest.approx(30 / first["time/collect_s"])
    assert first["memory/driver_gib"] > 0
    assert "time/collect_s" not in second, "the timers start anew with every row"
    assert list(first)[1:] == sorted(list(first)[1:])


def test_the_time_of_an_evaluation_is_no_training_time(tmp_path):
    with make_log(tmp_path) as log:
        log._last_write -= 10.0
        log._seconds["eval"] = 8.0
        log.write(1, {"reward/mean": 0.5, "pack/trained_tokens": 20.0})
    assert read_metrics(tmp_path)[0]["throughput/tokens_per_s"] == pytest.approx(20 / 2.0, rel=0.01)


def test_what_is_not_finite_becomes_null(tmp_path):
    with make_log(tmp_path) as log:
        log.write(1, {"reward/mean": math.nan, "reward/std": math.inf, "reward/error_rate": 1.0})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert '"reward/mean": null' in text
    assert '"reward/std": null' in text
    assert read_metrics(tmp_path)[0]["reward/error_rate"] == 1.0


def test_the_clock_of_a_resumed_run_starts_with_its_first_step(tmp_path):
    with make_log(tmp_path) as log:
        log._last_write -= 100.0
        log._seconds["eval"] = 50.0
        log.write_first(2, {})
        log.write(3, {"reward/mean": 0.5})
    (row,) = read_metrics(tmp_path)
    assert row["time/step_s"] < 1
    assert "time/eval_s" not in row


def test_deterministic_leaves_out_clock_and_memory():
    row = {
        "step": 3,
        "reward/mean": 0.5,
        "time/step_s": 1.0,
        "throughput/tokens_per_s": 2.0,
        "rollout/tokens_per_s": 3.0,
        "memory/used_gib": 4.0,
        "rollout/tokens": 5.0,
    }
    assert deterministic(row) == {"step": 3, "reward/mean": 0.5, "rollout/tokens": 5.0}


def test_a_resumed_run_writes_again_what_came_after_its_checkpoint(tmp_path):
    with make_log(tmp_path) as log:
        for step in range(4):
            log.write(step, {"reward/mean": step / 10})
            log.write_samples(step, scored_rows([make_scored([1.0])], [[0.0]]))
            log.write_eval_rows("held-out", step, [{"id": "a"}])
    with make_log(tmp_path) as log:
        log.truncate_after(2)
        assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]
        assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [f"step-{n}.jsonl" for n in range(3)]
        assert sorted(p.stem for p in (tmp_path / "evals").iterdir()) == [f"held-out-step-{n}" for n in range(3)]
        log.write_first(2, {})
        log.write(3, {"reward/mean": 0.9})
    assert [(row["step"], row["reward/mean"]) for row in read_metrics(tmp_path)] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
        (3, 0.9),
    ]


def test_a_run_that_starts_over_keeps_nothing(tmp_path):
    with make_log(tmp_path) as log:
        log.write(0, {"eval/s/avg@1": 0.5})
        log.write_eval_rows("s", 0, [{"id": "a"}])
        log.truncate_after(0)
        assert read_metrics(tmp_path) == []
        assert list((tmp_path / "evals").iterdir()) == []
        log.write_first(0, {})
    assert [row["step"] for row in read_metrics(tmp_path)] == [0]


def test_a_line_cut_off_by_a_crash_is_left_out_and_dropped_on_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "reward/mean": 0.5}\n{"step": 2, "rew\xff')
    assert read_metrics(tmp_path) == [{"step": 1, "reward/mean": 0.5}]
    with make_log(tmp_path) as log:
        log.truncate_after(1)
        log.write(2, {"reward/mean": 0.25})
    assert [row["reward/mean"] for row in lines(path)] == [0.5, 0.25]


def test_a_line_separator_in_a_name_is_no_end_of_line(tmp_path):
    with make_log(tmp_path) as log:
        log.write(1, {"reward/a\u2028b/mean": 0.5})
    assert read_metrics(tmp_path)[0]["reward/a\u2028b/mean"] == 0.5


def test_no_metrics_yet(tmp_path):
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("kind", ["metrics", "samples", "evals", "partial"])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, kind, monkeypatch):
    with make_log(tmp_path) as log:
        monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # the links below stand for the disk
        for name in ("metrics.jsonl", "samples/step-1.jsonl", "evals/s-step-1.jsonl", "evals/s-step-1.partial"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).symlink_to("/dev/full")
        write = {
            "metrics": lambda: log.write(1, {"reward/mean": 0.5}),
            "samples": lambda: log.write_samples(1, scored_rows([make_scored([1.0])], [[0.0]])),
            "evals": lambda: log.append_eval_row("s", 1, {"id": "a"}),
            "partial": lambda: log.write_eval_rows("s", 1, [{"id": "a"}]),
        }[kind]
        with pytest.raises(OSError, match=rf"cannot write .*{kind}.*: No space left.*--resume"):
            write()


def test_samples_hold_every_response_and_its_judgement(tmp_path):
    group = make_scored([1.0, None], finish_reason="length")
    with make_log(tmp_path, samples_every_steps=2) as log:
        for step in (1, 2):
            log.write_samples(step, scored_rows([group], [[0.7, 0.0]]))
    assert not (tmp_path / "samples" / "step-1.jsonl").exists()
    (row,) = lines(tmp_path / "samples" / "step-2.jsonl")
    assert row["messages"] == [{"role": "user", "content": "?"}]
    assert (row["id"], row["draw"], row["task"], row["reference"]) == ("p", 0, "math", "1")
    scored, lost = row["responses"]
    assert (scored["score"], scored["status"], scored["advantage"]) == (1.0, "ok", 0.7)
    assert (lost["score"], lost["status"], lost["advantage"]) == (None, "error", 0.0)
    assert (lost["length"], lost["finish_reason"], lost["policy_version"]) == (2, "length", 0)


def test_an_evaluation_that_was_cut_off_has_its_whole_rows(tmp_path):
    with make_log(tmp_path) as log:
        assert log.read_eval_rows("s", 0) == []
        log.write_eval_rows("s", 0, [])
        for name in ("a", "b"):
            log.append_eval_row("s", 0, {"id": name, "text": "half a pair \ud83d, a line\u2028and another"})
        path = tmp_path / "evals" / "s-step-0.jsonl"
        path.write_bytes(path.read_bytes() + b'{"id": "c", "text": "\xc3')
        kept = log.read_eval_rows("s", 0)
        assert [row["id"] for row in kept] == ["a", "b"]
        log.write_eval_rows("s", 0, kept)
        log.append_eval_row("s", 0, {"id": "d"})
    assert [row["id"] for row in lines(path)] == ["a", "b", "d"]
    assert [file.name for file in path.parent.iterdir()] == ["s-step-0.jsonl"]


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path):
    with make_log(tmp_path) as log:
        log.write_eval_rows("s", 1, [{"text": "half a pair \ud83d"}])
    assert lines(tmp_path / "evals" / "s-step-1.jsonl") == [{"text": "half a pair \ud83d"}]


def test_tensorboard_gets_every_metric(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with make_log(tmp_path, sinks=["tensorboard"]) as log:
        log.write(1, {"reward/mean": 0.5})
        log.write(2, {"reward/mean": 0.75})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("reward/mean")] == [(1, 0.5), (2, 0.75)]
    assert "time/step_s" in events.Tags()["scalars"]


def test_tensorboard_after_a_resume_keeps_the_step_it_goes_on_from(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with make_log(tmp_path, sinks=["tensorboard"]) as log:
        for step in (1, 2, 3):
            log.write(step, {"reward/mean": step / 4})
    with make_log(tmp_path, sinks=["tensorboard"]) as log:
        log.write_first(2, {})
        log.write(3, {"reward/mean": 1.0})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("reward/mean")] == [(1, 0.25), (2, 0.5), (3, 1.0)]


def test_a_sink_of_ones_own_gets_step_and_row(tmp_path, monkeypatch):
    (tmp_path / "my_sink.py").write_text("seen = []\ndef keep(step, metrics):\n    seen.append((step, metrics))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with make_log(tmp_path / "run", sinks=["my_sink:keep"]) as log:
        log.write(1, {"reward/mean": 0.5})
    import my_sink

    ((step, row),) = my_sink.seen
    assert step == 1
    assert row["reward/mean"] == 0.5
    assert row["time/step_s"] > 0


def test_an_unknown_sink_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"unknown log sink 'tensorbored'.*mlflow, swanlab, tensorboard, wandb"):
        LogConfig(sinks=["tensorbored"])


def test_a_run_folder_is_never_used_twice(tmp_path):
    config = LogConfig(dir=str(tmp_path), name="mine")
    assert new_run_folder(config, "grpo") == tmp_path / "mine"
    with pytest.raises(ValueError, match=r"log\.name: .*mine exists; choose another name, or .*--resume"):
        new_run_folder(config, "grpo")
    assert new_run_folder(LogConfig(dir=str(tmp_path)), "grpo").name.startswith("grpo-20")


def test_messages_go_to_log_txt_and_the_console(tmp_path, capsys):
    with make_log(tmp_path / "mine") as log:
        log.message("[bold]a [/message] of its own")
        log.stage("starting the engines")
    text = (tmp_path / "mine" / "log.txt").read_text()
    assert "[bold]a [/message] of its own" in text
    assert "starting the engines" in text
    assert "[bold]a [/message] of its own" in capsys.readouterr().err
    assert logging.getLogger("sharpen.mine").handlers == []


def test_what_no_number_can_say_is_null():
    assert as_json({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}}) == {
        "a": None,
        "b": [None, 1.5],
        "c": {"d": None},
    }
