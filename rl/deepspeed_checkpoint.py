"""Checkpoint files read as data: DeepSpeed itself would run whatever a file asks for."""

import pickle
import re
from typing import Any

import torch


def read_as_data(engine: Any) -> None:
    """Have an engine load files with `weights_only`, and beside tensors and plain values what DeepSpeed saves itself.

    Loading then raises ValueError naming the file and what else it asks for.
    """

    def load(path: str, map_location: Any = None) -> Any:
        try:
            with torch.serialization.safe_globals(_saved_types()):
                return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            raise ValueError(
                f"resume: {path} is not loaded: it holds more than data ({found[1][:200] if found else 'a pickle'}), "
                "which Sharpen does not write"
            ) from error

    engine.checkpoint_engine.load = load


def _saved_types() -> list[Any]:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
