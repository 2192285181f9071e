"""Low-rank adapters (LoRA, 2106.09685) through peft: where they sit, switched off, and merged into the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from rl.architecture import Architecture

NAME = "default"  # peft's for a model's only adapter
BASE, ADAPTERS = ".base_layer.", ("lora_A.", "lora_B.")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoRAConfig(BaseModel):
    """Adapters B·A of `rank`, times `alpha` / `rank`, beside the linear layers whose names end in `target_modules`.

    They alone are trained: the model itself stays as it is, and is the frozen reference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(32, gt=0)
    alpha: int = Field(64, gt=0)
    dropout: float = 0.0
    target_modules: tuple[str, ...] = Field(PROJECTIONS, min_length=1)

    @field_validator("dropout")
    @classmethod
    def _has_no_dropout(cls, dropout: float) -> float:
        if dropout != 0:
            raise ValueError("learner.lora.dropout must be 0: the sampler has none, and every ratio would be off")
        return dropout

    @field_validator("target_modules")
    @classmethod
    def _knows_the_layers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in PROJECTIONS]:
            raise ValueError(
                f"learner.lora.target_modules names {unknown[0]}, which takes no adapter: choose from "
                f"{', '.join(PROJECTIONS)}"
            )
        return names

    def num_parameters(self, model: Architecture) -> int:
        """Of the adapters; experts, which transformers fuses, have none."""
        queries, keys, hidden, width = model.num_heads, model.num_kv_heads, model.hidden, model.intermediate
        ends = {"q_proj": hidden + queries * model.head_dim, "k_proj": hidden + keys * model.head_dim}
        ends |= {"v_proj": ends["k_proj"], "o_proj": ends["q_proj"]}
        if not model.num_experts:
            ends |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden + width)
        return model.num_layers * self.rank * sum(ends.get(name, 0) for name in self.target_modules)


def add_adapters(model: nn.Module, config: LoRAConfig) -> None:
    """Put adapters, at first without effect (B is 0), into a model of transformers, and freeze all else."""
    from peft import LoraConfig, inject_adapter_in_model

    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if missing := [name for name in config.target_modules if name not in linear]:
        raise ValueError(
            f"learner.lora.target_modules: {type(model).__name__} has no linear layer {missing[0]} (experts are fused "
            "into other parameters); leave it out"
        )
    targets = list(config.target_modules)
    peft_config = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, task_type="CAUSAL_LM")
    inject_adapter_in_model(peft_config, model)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers with adapters, by the name that their weight has in a checkpoint; none in a model without."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    return {f"{name}.weight": layer for name, layer in layers.items()}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """The model as it was before any update. For passes without gradient alone."""
    layers = adapted_layers(model).values()
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def stored_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """What a checkpoint of the whole model holds, under its names there: adapters are merged, and not among them."""
    for name, parameter in model.named_parameters():
        if not any(part in name for part in ADAPTERS):
            yield name.replace(BASE, "."), parameter


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters, under the names that peft's files have."""
    named = ((name, p) for name, p in model.named_parameters() if any(part in name for part in ADAPTERS))
    return {f"base_model.model.{name.replace(f'.{NAME}.', '.')}": parameter for name, parameter in named}


def merged(weight: Tensor, layer: Any) -> Tensor:
    """W + B·A · alpha / rank, a new tensor; both must be gathered. Without a layer of adapters the weight itself."""
    return weight if layer is None else weight + layer.get_delta_weight(NAME).detach()


def save_adapters(model: Any, origin: str, tensors: dict[str, Tensor], folder: Path) -> None:
    """A folder that peft loads beside the model `origin`."""
    from safetensors.torch import save_file

    config = model.peft_config[NAME]
    config.base_model_name_or_path, config.inference_mode = origin, True
    config.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
