"""What ends a response: of instruction-tuned and base models, in folders and behind hub ids, and in what is saved."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, GenerationConfig

from rl.models import resolve_model, save_without_weights, stop_token_ids

END, PAD = 258, 256  # <|im_end|> and <|endoftext|> of the tiny model


def base_of(folder: str, out: Path, *, generation: object = PAD, config: object = PAD) -> str:
    """The model as a base model: it ends texts with <|endoftext|>, and has a template that ends turns otherwise."""
    shutil.copytree(folder, out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(out)
    for name, ids in (("generation_config.json", generation), ("config.json", config)):
        fields = json.loads((out / name).read_text())
        (out / name).write_text(json.dumps(fields | {"eos_token_id": ids}))
    return str(out)


def test_an_instruction_tuned_model_stops_at_what_it_names(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]) == [END, PAD]
    assert stop_token_ids(tiny_model) == [PAD, END]
    smollm2 = resolve_model("package:smollm2")
    assert stop_token_ids(smollm2) == [AutoTokenizer.from_pretrained(smollm2).eos_token_id]


@pytest.mark.parametrize("ids", [{}, {"generation": [PAD]}, {"generation": None}, {"generation": None, "config": None}])
def test_a_base_model_stops_at_the_end_of_a_turn_too(tiny_model, tmp_path, ids):
    assert stop_token_ids(base_of(tiny_model, tmp_path / "base", **ids)) == [PAD, END]


def test_without_a_generation_config_the_config_is_asked(tiny_model, tmp_path):
    base = Path(base_of(tiny_model, tmp_path / "base", config=7))
    (base / "generation_config.json").unlink()
    assert stop_token_ids(str(base)) == [7, END]


def test_a_model_without_a_chat_template_stops_at_what_it_names(tiny_model, tmp_path):
    base = base_of(tiny_model, tmp_path / "base")
    for path in Path(base).glob("chat_template*"):
        path.unlink()
    assert AutoTokenizer.from_pretrained(base).chat_template is None
    assert stop_token_ids(base) == [PAD]


def test_a_hub_id_has_all_of_them_as_well(tiny_model, tmp_path):
    snapshot = tmp_path / "models--some--base" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    base_of(tiny_model, snapshot, generation=[PAD, 7])
    (tmp_path / "models--some--base" / "refs").mkdir()
    (tmp_path / "models--some--base" / "refs" / "main").write_text("0" * 40)
    code = "from rl.models import stop_token_ids; print(stop_token_ids('some/base'))"
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.stdout.strip() == str([7, PAD, END]), answer.stderr


def test_what_is_saved_stops_where_training_did(tiny_model, tmp_path):
    base = base_of(tiny_model, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    assert model.generation_config.eos_token_id == PAD
    save_without_weights(model, base, tmp_path / "saved")
    assert sorted(GenerationConfig.from_pretrained(tmp_path / "saved").eos_token_id) == [PAD, END]
    assert stop_token_ids(str(tmp_path / "saved")) == [PAD, END]
    assert model.generation_config.eos_token_id == PAD, "the model in training is left as it is"
    assert (tmp_path / "saved" / "config.json").is_file()
    saved, source = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "saved", base))
    assert saved.chat_template == source.chat_template


def test_a_classifier_is_saved_without_what_ends_a_response(tiny_model, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    save_without_weights(model, tiny_model, tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
