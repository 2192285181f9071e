"""Arguments of `sharpen run`, in whatever order they are given."""

from pathlib import Path

import pytest

import rl.launch
from rl.cli import main

SMOKE = "configs/smoke/grpo.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        [SMOKE, "num_steps=3", "seed=1", "--resume", "runs/a"],
        [SMOKE, "--resume", "runs/a", "num_steps=3", "seed=1"],
        [SMOKE, "num_steps=3", "--resume", "runs/a", "seed=1"],
        ["--resume", "runs/a", SMOKE, "num_steps=3", "seed=1"],
    ],
)
def test_overrides_may_stand_before_and_after_a_flag(monkeypatch, arguments):
    calls = []
    monkeypatch.setattr(rl.launch, "launch", lambda *given: calls.append(given) or 0)
    assert main(["run", *arguments]) == 0
    assert calls == [(SMOKE, ["num_steps=3", "seed=1"], Path("runs/a"))]


@pytest.mark.parametrize("arguments", [["run", SMOKE, "seed=1", "--resme", "runs/a"], ["report", "runs/a", "seed=1"]])
def test_what_no_command_knows_is_refused(capsys, arguments):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "unrecognized arguments" in capsys.readouterr().err
