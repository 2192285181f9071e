import json

import pytest

from rl.checkpoint import CheckpointConfig, Checkpointer, complete_steps, latest_step
from tests.fakes import FakeLearner


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def state(self):
        return {"count": self.count}

    def load(self, state):
        self.count = state["count"]


def checkpointer(folder, learner=None, part=None, **config) -> Checkpointer:
    parts = {"part": part or Counter()}
    return Checkpointer(CheckpointConfig(**config), folder, learner=learner or FakeLearner(), parts=parts, num_steps=10)


async def test_what_is_saved_comes_back(tmp_path):
    learner, part = FakeLearner(), Counter()
    learner.value, part.count = 7, 3
    await checkpointer(tmp_path, learner, part).save(4)
    fresh, other = FakeLearner(), Counter()
    assert await checkpointer(tmp_path, fresh, other).resume() == 4
    assert (fresh.value, other.count) == (7, 3)


async def test_a_fresh_run_resumes_at_nothing(tmp_path):
    assert await checkpointer(tmp_path / "none").resume() == 0


async def test_a_full_disk_leaves_the_last_good_one_and_says_so(tmp_path):
    await checkpointer(tmp_path).save(1)
    with pytest.raises(OSError, match=r"cannot save the checkpoint of step 2 under .*No space left"):
        await checkpointer(tmp_path, FakeLearner(fails_at_save=True)).save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def damage_truncate(path):
    (path / "weights").write_text("")


def damage_manifest(path):
    (path / "complete.json").write_text((path / "complete.json").read_text()[:-5])


def damage_no_manifest(path):
    (path / "complete.json").unlink()


def damage_missing(path):
    (path / "state.json").unlink()


@pytest.mark.parametrize("damage", [damage_truncate, damage_manifest, damage_no_manifest, damage_missing])
async def test_a_damaged_checkpoint_is_not_one(tmp_path, damage):
    learner = FakeLearner()
    learner.value = 42
    saver = checkpointer(tmp_path, learner)
    await saver.save(1)
    await saver.save(2)
    damage(tmp_path / "step-2")
    assert latest_step(tmp_path) == 1


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
    assert saver.is_due(5)
    assert not checkpointer(tmp_path, at_end=False).is_due(10)


async def test_the_manifest_names_every_file(tmp_path):
    await checkpointer(tmp_path).save(1)
    assert json.loads((tmp_path / "step-1" / "complete.json").read_text()) == {"state.json": 22, "weights": 1}
