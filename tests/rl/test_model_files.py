"""Fingerprints of models: what decides a model's answers changes them, and a run folder has one model's responses."""

import pytest

from rl.model_files import PART_BYTES, WHOLE_BYTES, check_same_model, fingerprint


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(WHOLE_BYTES + 4 * PART_BYTES))
    return folder


@pytest.mark.parametrize("place", [0, WHOLE_BYTES // 2 + 2 * PART_BYTES, WHOLE_BYTES + 4 * PART_BYTES - 1])
def test_weights_are_looked_at_in_three_places(model, place):
    before = fingerprint(str(model))
    with open(model / "model.safetensors", "r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert fingerprint(str(model)) != before


def test_names_and_small_files_count_and_times_do_not(model):
    before = fingerprint(str(model))
    (model / "config.json").touch()
    assert fingerprint(str(model)) == before
    (model / "config.json").write_text("{ }")
    changed = fingerprint(str(model))
    (model / "config.json").rename(model / "other.json")
    assert len({before, changed, fingerprint(str(model))}) == 3
    assert fingerprint("some/model") == "some/model"


def test_another_model_s_responses_are_not_mixed_in(model, tmp_path):
    check_same_model(tmp_path, str(model))
    check_same_model(tmp_path, str(model))
    (model / "model.safetensors").write_bytes(b"trained on")
    with pytest.raises(ValueError, match=r"--resume: the files of .*model are not those that the responses"):
        check_same_model(tmp_path, str(model))
