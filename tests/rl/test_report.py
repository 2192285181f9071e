import json

import pytest

from rl.log import LogConfig, RunLog, deterministic, read_metrics
from rl.report import build_report, evaluation_table, make_charts, read_groups
from tests.fakes import make_scored

EVIL = "</script><script>alert(1)</script>\u2028<b>"


def fill(folder, *, steps: int = 2):
    with RunLog(folder, LogConfig(sinks=[]), recipe="grpo", num_steps=steps) as log:
        log.write_first(0, {"eval/s/avg@4": 0.25, "eval/s/se@4": 0.01})
        for step in range(1, steps + 1):
            with log.timer("collect"):
                pass
            log.write_samples(step, [make_scored([0.0, 1.0, None])], [[-1.0, 1.0, 0.0]])
            log.write(step, {"reward/mean": 0.5 * step, "policy/entropy": float("nan"), "pack/trained_tokens": 10.0})
        last = {"eval/s/avg@4": 0.75, "eval/s/se@4": 0.02, "eval/s/gain@4": 0.5, "eval/s/gain_se@4": 0.03}
        log.write(steps + 1, last)


def test_rows_are_valid_json_with_null_for_what_does_not_exist(tmp_path):
    fill(tmp_path)
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["policy/entropy"] is None
    assert rows[1]["time/collect_s"] >= 0
    assert deterministic(rows[1]) == {
        "step": 1,
        "reward/mean": 0.5,
        "policy/entropy": None,
        "pack/trained_tokens": 10.0,
    }


def test_a_resume_drops_what_is_past_its_checkpoint(tmp_path):
    fill(tmp_path, steps=3)
    log = RunLog(tmp_path, LogConfig(sinks=[]), recipe="grpo", num_steps=3)
    log.truncate_after(2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == ["step-1.jsonl", "step-2.jsonl"]


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with (
        RunLog(tmp_path, LogConfig(sinks=[]), recipe="grpo", num_steps=1) as log,
        pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left on device"),
    ):
        log.write(1, {"reward/mean": 1.0})


def test_the_page_stands_alone_and_hostile_text_stays_text(tmp_path):
    fill(tmp_path)
    sample = json.loads((tmp_path / "samples" / "step-1.jsonl").read_text())
    sample["responses"][0]["text"] = EVIL
    (tmp_path / "samples" / "step-1.jsonl").write_text(json.dumps(sample, ensure_ascii=False) + "\n")
    page = build_report(tmp_path).read_text()
    assert EVIL not in page
    assert "alert(1)\\u003c/script\\u003e\\u2028" in page
    assert 'src="http' not in page
    assert '<link rel="stylesheet"' not in page
    assert "+0.500 ± 0.030" in page


def test_a_run_cut_off_in_the_middle_of_a_line_is_shown_and_said(tmp_path):
    fill(tmp_path, steps=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "rew')
    assert "1 line(s) at the end of metrics.jsonl were cut off" in build_report(tmp_path).read_text()


def test_no_run_no_report(tmp_path):
    with pytest.raises(ValueError, match=r"has no metrics\.jsonl with a row in it"):
        build_report(tmp_path)


def test_the_table_shows_before_after_and_the_paired_gain(tmp_path):
    fill(tmp_path)
    (row,) = evaluation_table(read_metrics(tmp_path))
    assert row == {"name": "s/avg@4", "first": "0.250 ± 0.010", "last": "0.750 ± 0.020", "gain": "+0.500 ± 0.030"}


def test_charts_hold_what_was_logged(tmp_path):
    fill(tmp_path)
    charts = {chart["layout"]["title"]["text"]: chart for chart in make_charts(read_metrics(tmp_path))}
    assert charts["Reward"]["data"][0]["y"] == [0.5, 1.0]
    assert "Entropy" not in charts, "a chart without a point is left out"


def test_samples_beyond_the_limit_are_left_out_and_counted(tmp_path):
    fill(tmp_path, steps=5)
    size = (tmp_path / "samples" / "step-1.jsonl").stat().st_size
    groups, left_out = read_groups(tmp_path, max_bytes=2 * size + 10)
    assert [group["step"] for group in groups] == [1, 5]
    assert left_out == 3
