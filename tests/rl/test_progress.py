"""What people see while a run goes on."""

import io
import math

import pytest
from rich.console import Console

from rl.progress import Progress, duration, sparkline

ROW = {
    "reward/mean": 0.5,
    "policy/entropy": 1.25,
    "rollout/response_length": 31.7,
    "loss/mismatch_kl": 0.00123,
    "throughput/tokens_per_s": 456.7,
    "time/step_s": 2.0,
}


def make_progress(terminal: bool, num_steps: int = 10) -> Progress:
    progress = Progress(num_steps)
    progress.console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    return progress


def shown(progress: Progress) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(progress._render())
    return console.file.getvalue()


def test_sparkline_spans_its_values():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.0, 1.0, 0.0]) == "▁█▁"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([float(n) for n in range(100)], width=2) == "▁█"


def test_a_value_that_is_not_finite_is_a_gap():
    assert sparkline([0.0, math.nan, 1.0]) == "▁ █"
    assert sparkline([math.inf, 0.0, 1.0]) == " ▁█"
    assert sparkline([math.nan]) == " "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 min 00 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (45_296, "12 h 34 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_without_a_terminal_there_is_one_line_a_step(capsys):
    with make_progress(terminal=False) as progress:
        progress.step(4, ROW | {"eval/arithmetic/avg@4": 0.625})
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.endswith(
        "step 4/10, reward 0.500, entropy 1.25, length 32, mismatch 1.2e-03, 457 tokens/s, 2.0 s, "
        "arithmetic/avg@4 0.625, 0 min 12 s left\n"
    )


def test_an_evaluation_before_training_needs_no_reward(capsys):
    with make_progress(terminal=False) as progress:
        progress.step(0, {"eval/arithmetic/avg@4": 0.25, "time/step_s": 1.0})
    assert capsys.readouterr().err.endswith("step 0/10, 1.0 s, arithmetic/avg@4 0.250\n")


def test_a_score_is_shown_only_with_the_step_that_measured_it(capsys):
    with make_progress(terminal=False) as progress:
        progress.step(1, ROW | {"eval/s/avg@4": 0.25})
        progress.step(2, ROW)
    first, second = capsys.readouterr().err.splitlines()
    assert "avg@4" in first
    assert "avg@4" not in second


def test_the_short_stages_of_a_step_do_not_flood_a_log(capsys):
    with make_progress(terminal=False) as progress:
        progress.stage("collect")
        progress.stage("starting the engines")
        progress.advance("collecting", 1, 8)
    assert [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()] == ["starting the engines"]


def test_a_long_stage_speaks_up_every_ten_seconds(capsys):
    with make_progress(terminal=False) as progress:
        progress._last_line -= 11
        progress.advance("collecting", 3, 8)
        progress.advance("collecting", 4, 8)
    assert [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()] == ["collecting 3/8"]


def test_the_panel_shows_stage_step_reward_and_scores():
    progress = make_progress(terminal=True)
    for step, score in ((1, 0.25), (2, 0.5)):
        progress.step(step, ROW | {"reward/mean": step / 4, "eval/s/avg@4": score})
    progress.advance("collecting", 3, 8)
    panel = shown(progress)
    assert "collecting 3/8" in panel
    assert "2/10" in panel
    assert "0 min 16 s left" in panel
    assert "0.500  ▁█" in panel
    assert "0.250 → 0.500" in panel


def test_brackets_in_a_stage_or_message_are_no_markup():
    progress = make_progress(terminal=True)
    progress.stage("evaluating [/red] suite")
    progress.step(1, ROW | {"eval/[/a]/avg@4": 0.5, "reward/mean": math.nan})
    assert "evaluating [/red] suite" in shown(progress)
    assert "[/a]/avg@4" in shown(progress)
    progress.message("[/b] " + "x" * 300)
    assert progress.console.file.getvalue() == "[/b] " + "x" * 300 + "\n", "a long message is not cut into lines"


def test_a_terminal_gets_a_live_panel_that_ends_with_the_run():
    progress = make_progress(terminal=True)
    with progress:
        progress.step(1, ROW)
    assert "step 1/10" in progress.console.file.getvalue()
    assert not progress._live.is_started
