"""Pipelines: references, what is refused before anything runs, what may change, and the page over all stages."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rl.config_file import find_config, load_config
from rl.launch import launch, write_config, write_report
from rl.log import RunLog
from rl.stage_run import Relay, relay_signals, run_stage
from rl.stages import locked, make_stages, mark_complete, prepare

SMOKE = "configs/smoke/pipeline.yaml"
SFT = """
  cold_start:
    config: configs/smoke/sft.yaml
"""


def write(tmp_path: Path, stages: str, more: str = "") -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"recipe: pipeline\n{more}\nstages:{stages}")
    return path


def test_files_and_overrides_become_one_config():
    config = load_config(find_config(SMOKE), ["stages.reasoning.overrides.learner.optimizer.lr=0.5"])
    reasoning = config.stages["reasoning"]
    assert reasoning.recipe == "grpo"
    assert reasoning.config["model"] == "${stages.cold_start.model}"
    assert (reasoning.config["num_steps"], reasoning.config["learner"]["optimizer"]["lr"]) == (2, 0.5)
    assert config.stages["measure"].config["engine"]["max_context_tokens"] == 256, "vars are shared"
    assert config.num_steps == 3


def test_a_dotted_key_reaches_into_lists(tmp_path):
    path = write(
        tmp_path,
        """
  first:
    config: configs/smoke/grpo.yaml
    overrides: {prompts.sources.0.template: "{question} = $\\\\{x}", seed: 5}
""",
    )
    values = load_config(path).stages["first"].config
    assert values["prompts"]["sources"][0]["template"].startswith("{question} = ")
    assert values["prompts"]["sources"][0]["generator"] == "rl.arithmetic:problem"
    assert values["seed"] == 5


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("\n  a: {config: configs/smoke/sft.yaml, overrides: {model: '${stages.b.model}'}}", "there is no stage 'b'"),
        ("\n  a: {config: configs/smoke/sft.yaml, overrides: {model: '${stages.a.model}'}}", "is not earlier than 'a'"),
        (
            "\n  a: {config: configs/smoke/sft.yaml, overrides: {model: '${stages.b.model}'}}"
            "\n  b: {config: configs/smoke/sft.yaml}",
            r"\$\{stages\.b\.model\} is not earlier than 'a'; earlier ones are none",
        ),
        (
            SFT + "  b: {config: configs/smoke/grpo.yaml, overrides: {model: '${stages.cold_start.weights}'}}",
            "a stage has no 'weights'; it has model, data, folder",
        ),
        (
            SFT
            + "    overrides: {checkpoint.at_end: false}\n"
            + "  b: {config: configs/smoke/grpo.yaml, overrides: {model: '${stages.cold_start.model}'}}",
            r"stages\.b: cold_start leaves no model at its end.* checkpoint\.at_end",
        ),
        (SFT + "  b: {config: {recipe: grpo, modle: x}}", r"(?s)stages\.b:.*modle: unknown key; did you mean 'model'"),
        (SFT + "  b: {config: configs/smoke/nothing.yaml}", "no config configs/smoke/nothing.yaml"),
        (SFT + "  b: {confg: configs/smoke/sft.yaml}", "stages.b.config: Field required"),
        (SFT + "  B!: {config: configs/smoke/sft.yaml}", "'B!' is no name of a stage"),
        (SFT + "  b: {config: {recipe: pipeline}}", "a stage cannot be a pipeline"),
        (" {}", "stages: .*at least 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(tmp_path, stages, message):
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, stages))


def test_a_reference_outside_a_pipeline_is_refused():
    with pytest.raises(ValueError, match=r"\$\{stages\.x\.model\} is for stages of a pipeline"):
        load_config(find_config("configs/smoke/sft.yaml"), ["model=${stages.x.model}"])


def complete(stage, step: int = 4) -> None:
    """What a finished run leaves behind."""
    model = stage.folder / "checkpoints" / f"step-{step}" / "model"
    model.mkdir(parents=True)
    (model.parent / "complete.json").write_text("{}")
    mark_complete(stage)


def test_stages_are_filled_with_what_was_made(tmp_path):
    config = load_config(find_config(SMOKE))
    cold_start, reasoning, _ = make_stages(config, tmp_path)
    with pytest.raises(ValueError, match=r"stage cold_start has no model .*set checkpoint\.at_end"):
        prepare(reasoning)
    complete(cold_start)
    assert prepare(reasoning) == [str(tmp_path / "stages" / "reasoning.yaml")]
    written = yaml.safe_load((tmp_path / "stages" / "reasoning.yaml").read_text())
    assert written["model"] == str(tmp_path / "stages" / "cold_start" / "checkpoints" / "step-4" / "model")
    assert written["log"] == {"dir": str(tmp_path / "stages"), "name": "reasoning"}
    assert load_config(tmp_path / "stages" / "reasoning.yaml").recipe == "grpo"


def test_a_complete_stage_must_not_change(tmp_path):
    config = load_config(find_config(SMOKE))
    stages = make_stages(config, tmp_path)
    complete(stages[0])
    complete(stages[1])
    make_stages(config, tmp_path)
    changed = load_config(find_config(SMOKE), ["stages.cold_start.overrides.num_steps=9"])
    with pytest.raises(ValueError, match=r"stage cold_start is complete, but changed since: num_steps \(4 -> 9\)") as e:
        make_stages(changed, tmp_path)
    assert str(e.value).endswith(f"rm -r {stages[0].folder} {stages[1].folder}")


def test_a_refused_resume_leaves_the_run_folder_as_it_was(tmp_path):
    config = load_config(find_config(SMOKE))
    write_config(tmp_path, config)
    complete(make_stages(config, tmp_path)[0])
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(ValueError, match="stage cold_start is complete, but changed"):
        launch(SMOKE, ["stages.cold_start.overrides.num_steps=9"], tmp_path)
    assert (tmp_path / "config.yaml").read_text() == before


def test_what_follows_a_stage_that_was_made_again_is_refused(tmp_path):
    import shutil

    config = load_config(find_config(SMOKE))
    cold_start, reasoning, _ = make_stages(config, tmp_path)
    complete(cold_start)
    complete(reasoning)
    shutil.rmtree(cold_start.folder)
    with pytest.raises(ValueError, match=r"stage reasoning is complete, .*its input cold_start \(run .* not there\)"):
        make_stages(config, tmp_path)
    complete(cold_start)
    with pytest.raises(ValueError, match="its input cold_start"):
        make_stages(config, tmp_path)


def test_an_unfinished_stage_goes_on_or_starts_anew(tmp_path):
    config = load_config(find_config(SMOKE))
    stage = make_stages(config, tmp_path)[0]
    (command,) = prepare(stage)
    stage.folder.mkdir()
    (stage.folder / "rubbish").touch()
    assert prepare(stage) == [command]
    assert not stage.folder.exists(), "it died before it had written its config"
    stage.folder.mkdir()
    write_config(stage.folder, load_config(command))
    assert prepare(stage) == [command, "--resume", str(stage.folder)]
    changed = make_stages(load_config(find_config(SMOKE), ["stages.cold_start.overrides.seed=7"]), tmp_path)[0]
    step = stage.folder / "checkpoints" / "step-2"
    step.mkdir(parents=True)
    (step / "complete.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has a checkpoint, but changed since: seed \(0 -> 7\).*rm -r"):
        prepare(changed)
    (step / "complete.json").unlink()
    assert prepare(changed) == [command]
    assert not stage.folder.exists(), "without a checkpoint there is nothing to lose"


@pytest.fixture
def failing(tmp_path):
    """A pipeline whose only stage fails at once: its rows are in a file that is not there."""
    path = write(tmp_path, SFT + "    overrides: {sources: [{path: nowhere.jsonl}]}")
    config = load_config(path)
    return config, make_stages(config, tmp_path)[0]


async def test_a_failed_stage_is_named_with_its_code_and_the_end_of_its_log(tmp_path, failing, capfd):
    config, stage = failing
    with (
        RunLog(tmp_path, config.log, recipe="pipeline", num_steps=1) as log,
        relay_signals() as relay,
        pytest.raises(
            ChildProcessError, match=r"(?s)stage 1 of 1, cold_start failed with exit code 2.*no file nowhere"
        ),
    ):
        async with locked(tmp_path, log.message) as lock:
            await run_stage(stage, log, relay, lock)
    assert "cold_start: sharpen: no file nowhere.jsonl" in capfd.readouterr().err, "its lines are passed on"
    assert stage.marker() is None


async def test_a_signal_before_the_stage_is_up_stops_it(tmp_path, failing):
    config, stage = failing
    relay = Relay()
    relay.receive()
    with RunLog(tmp_path, config.log, recipe="pipeline", num_steps=1) as log:
        async with locked(tmp_path, log.message) as lock:
            assert not await run_stage(stage, log, relay, lock)
    assert stage.marker() is None


async def test_two_pipelines_in_one_folder_wait_for_each_other(tmp_path):
    said: list[str] = []
    async with locked(tmp_path, said.append):
        with pytest.raises(ValueError, match="another run of the pipeline"):
            async with locked(tmp_path, said.append, limit_s=0.01):
                pass
    async with locked(tmp_path, said.append, limit_s=0.01):
        assert len(said) == 1


def test_a_stage_is_asked_to_leave_when_its_pipeline_is_killed(tmp_path):
    """SIGKILL leaves nobody to pass a signal on: the kernel does."""
    child = (
        "import os, subprocess, sys, time\n"
        "code = 'import os, sys, rl.stage_process as s; "
        'os.execv = lambda *_: (print(os.getpid(), flush=True), __import__("time").sleep(60)); '
        "s.main(int(sys.argv[1]), [])'\n"
        "subprocess.Popen([sys.executable, '-c', code, str(os.getpid())]); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, cwd=root)
    stage = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{stage}").exists() and "Z" not in Path(f"/proc/{stage}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the stage outlives its pipeline"
        time.sleep(0.05)


def test_the_relay_asks_twice_and_then_kills():
    sent: list[int] = []

    class Process:
        returncode = None
        send_signal = staticmethod(sent.append)

    relay = Relay()
    relay.process = Process()  # type: ignore[assignment]
    for _ in range(3):
        relay.receive()
    assert sent == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


def test_the_page_opens_without_a_network_and_escapes_names(tmp_path):
    config = load_config(find_config(SMOKE), ["vars.note=<script>alert(1)</script>"])
    write_config(tmp_path, config)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "time/step_s": 61.0}) + "\n")
    stage = make_stages(config, tmp_path)[0]
    stage.folder.mkdir(parents=True)
    rows = [{"step": step, "time/step_s": 1.0, "loss/cross_entropy": 3.0 - step} for step in (0, 2)]
    rows[0]["eval/sums/avg@4"], rows[1]["eval/sums/avg@4"] = 0.25, 0.75
    (stage.folder / "evals").mkdir()
    for step, score in ((0, 0.0), (2, 1.0)):
        row = {"id": "<script>", "responses": [{"scores": {"boxed": score}}, {"scores": {"boxed": 0.0}}]}
        (stage.folder / "evals" / f"sums-step-{step}.jsonl").write_text(json.dumps(row) + "\n")
    (stage.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (stage.folder / "report.html").touch()
    page = write_report(tmp_path).read_text()
    assert 'href="stages/cold_start/report.html"' in page
    assert "0.750" in page
    assert "+0.500" in page
    assert 'title="since before, over 1 prompts in both">Δ +0.500<' in page
    assert "<tr><th>sums, pass@2</th><td>0.000</td><td>1.000<" in page
    assert "1 min 01 s" in page
    assert page.count("<polyline") == 2
    assert "not started" in page
    assert "on the model of cold_start" in page
    assert "<script" not in page
    assert "://" not in page


def test_a_folder_without_a_run_has_no_report(tmp_path):
    (tmp_path / "stages").mkdir()
    with pytest.raises(ValueError, match=r"it has no config\.yaml"):
        write_report(tmp_path)
