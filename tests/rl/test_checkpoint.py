"""Checkpoints: whole or not there, whatever happens while one is written."""

import asyncio
import json

import pytest

from rl.checkpoint import CheckpointConfig, Checkpointer, complete_steps, latest_step
from tests.fakes import FakeLearner, FakePart


def checkpointer(folder, learner=None, part=None, **config) -> Checkpointer:
    parts = {"part": part or FakePart()}
    return Checkpointer(CheckpointConfig(**config), folder, learner=learner or FakeLearner(), parts=parts, num_steps=10)


async def test_what_is_saved_comes_back(tmp_path):
    learner, part = FakeLearner(), FakePart()
    learner.value, part.count = 7, 3
    await checkpointer(tmp_path, learner, part).save(4)
    fresh, other = FakeLearner(), FakePart()
    assert await checkpointer(tmp_path, fresh, other).resume() == 4
    assert (fresh.value, other.count) == (7, 3)


async def test_a_fresh_run_resumes_at_nothing(tmp_path):
    assert await checkpointer(tmp_path / "none").resume() == 0


async def test_a_full_disk_leaves_the_last_good_one_and_says_so(tmp_path):
    await checkpointer(tmp_path).save(1)
    with pytest.raises(OSError, match=r"cannot save the checkpoint of step 2 under .*No space left"):
        await checkpointer(tmp_path, FakeLearner(OSError(28, "No space left on device"))).save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def damage_truncate(path):
    (path / "weights").write_text("")


def damage_manifest(path):
    (path / "complete.json").write_text((path / "complete.json").read_text()[:-5])


def damage_no_manifest(path):
    (path / "complete.json").unlink()


def damage_missing(path):
    (path / "state.json").unlink()


@pytest.mark.parametrize(
    "error", [RuntimeError("PytorchStreamWriter failed writing file"), TimeoutError("the learner's checkpoint")]
)
async def test_any_error_of_saving_names_the_folder_and_the_free_space(tmp_path, error):
    await checkpointer(tmp_path).save(1)
    with pytest.raises(OSError, match=r"step 2 under .* \([\d.]+ GiB free\): " + str(error)):
        await checkpointer(tmp_path, FakeLearner(error)).save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


@pytest.mark.parametrize("point", ["learner.save", "state", "seal", "rename"])
async def test_a_crash_at_any_point_leaves_the_last_good_one(tmp_path, monkeypatch, point):
    """CancelledError stands for a kill: nothing catches it, so nothing is cleaned up."""
    learner, part = FakeLearner(), FakePart()
    learner.value, part.count = 7, 3
    await checkpointer(tmp_path, learner, part).save(1)

    def crash(*_: object) -> None:
        raise asyncio.CancelledError

    saver = checkpointer(tmp_path, FakeLearner(), FakePart())
    if point == "learner.save":
        saver = checkpointer(tmp_path, FakeLearner(asyncio.CancelledError()))
    elif point == "state":
        monkeypatch.setattr(FakePart, "state", crash)
    elif point == "seal":
        monkeypatch.setattr("rl.checkpoint._seal", crash)
    else:
        monkeypatch.setattr("pathlib.Path.rename", crash)
    with pytest.raises(asyncio.CancelledError):
        await saver.save(2)
    monkeypatch.undo()
    assert (tmp_path / ".step-2.partial").is_dir(), "the crash came in the middle"
    fresh, other = FakeLearner(), FakePart()
    after = checkpointer(tmp_path, fresh, other)
    assert await after.resume() == 1
    assert (fresh.value, other.count) == (7, 3)
    await after.save(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1", "step-3"], "what the crash left is gone"


@pytest.mark.parametrize("damage", [damage_truncate, damage_manifest, damage_no_manifest, damage_missing])
async def test_a_damaged_checkpoint_is_not_one(tmp_path, damage):
    learner = FakeLearner()
    saver = checkpointer(tmp_path, learner)
    for step in (1, 2):
        learner.value = 40 + step
        await saver.save(step)
    damage(tmp_path / "step-2")
    assert latest_step(tmp_path) == 1
    fresh = FakeLearner()
    assert await checkpointer(tmp_path, fresh).resume() == 1
    assert fresh.value == 41
    await saver.save(2)
    assert complete_steps(tmp_path) == [1, 2], "it is written over"


async def test_a_folder_left_by_a_crash_is_ignored_and_written_over(tmp_path):
    partial = tmp_path / ".step-3.partial"
    partial.mkdir()
    (partial / "weights").write_text("half")
    assert latest_step(tmp_path) == 0
    await checkpointer(tmp_path).save(3)
    assert complete_steps(tmp_path) == [3]
    assert not partial.exists()


async def test_the_newest_are_kept(tmp_path):
    saver = checkpointer(tmp_path, keep=2)
    for step in (1, 2, 3, 10):
        await saver.save(step)
    assert complete_steps(tmp_path) == [3, 10]


def test_when_it_is_due(tmp_path):
    saver = checkpointer(tmp_path, every_steps=4)
    assert [step for step in range(1, 11) if saver.is_due(step)] == [4, 8, 10]
    saver.stopping = True
    assert saver.is_due(5), "a signal saves the step in hand"
    assert not checkpointer(tmp_path, at_end=False).is_due(10)


async def test_the_manifest_names_every_file(tmp_path):
    await checkpointer(tmp_path).save(1)
    assert json.loads((tmp_path / "step-1" / "complete.json").read_text()) == {"state.json": 22, "weights": 1}


async def test_a_folder_inside_is_part_of_it(tmp_path):
    class Sharded(FakeLearner):
        async def save(self, folder):
            await super().save(folder)
            (folder / "rank-0").mkdir()
            (folder / "rank-0" / "optimizer").write_text("abc")

    await checkpointer(tmp_path, Sharded()).save(1)
    assert json.loads((tmp_path / "step-1" / "complete.json").read_text())["rank-0/optimizer"] == 3
    (tmp_path / "step-1" / "rank-0" / "optimizer").write_text("ab")
    assert latest_step(tmp_path) == 0


async def test_other_folders_are_no_checkpoints(tmp_path):
    for name in ("step-9", "step-x", "step-10.tmp", "best"):
        (tmp_path / name).mkdir()
    await checkpointer(tmp_path).save(2)
    assert latest_step(tmp_path) == 2


async def test_save_if_due_saves_only_then(tmp_path):
    saver = checkpointer(tmp_path, every_steps=2, keep=9)
    for step in range(1, 6):
        await saver.save_if_due(step)
    assert complete_steps(tmp_path) == [2, 4]


async def test_a_damaged_checkpoint_is_named(tmp_path, caplog):
    saver = checkpointer(tmp_path)
    for step in (1, 2):
        await saver.save(step)
    (tmp_path / "step-2" / "weights").write_text("")
    assert await checkpointer(tmp_path).resume() == 1
    (record,) = caplog.records
    assert record.event == "checkpoint_damaged"
    assert "step-2: weights has 0 bytes of 1" in record.getMessage()


async def test_a_resume_does_not_begin_anew_in_silence(tmp_path):
    await checkpointer(tmp_path).save(2)
    (tmp_path / "step-2" / "weights").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint under .* is whole \(step-2: .*weights: No such file"):
        await checkpointer(tmp_path).resume()
