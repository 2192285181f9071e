"""A batch and a config as verl makes them, for its reward loop."""

import numpy as np


def verl_data(tokenizer, responses, **fields):
    """A batch as verl's agent loop makes it, one prompt token each."""
    import torch
    from verl import DataProto

    ids = [tokenizer.encode(response, add_special_tokens=False) for response in responses]
    longest = max(map(len, ids))
    batch = {
        "prompts": torch.zeros((len(ids), 1), dtype=torch.int64),
        "responses": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] + [1] * len(row) + [0] * (longest - len(row)) for row in ids]),
    }
    rows = {name: np.array([values] * len(ids), dtype=object) for name, values in fields.items()}
    return DataProto.from_dict(tensors=batch, non_tensors=rows)


FIELDS = {
    "data_source": "math",
    "reward_model": {"style": "rule", "ground_truth": "7"},
    "extra_info": {"split": "train"},
    "raw_prompt": [{"role": "user", "content": "3 + 4?"}],
}


def verl_config(tiny_model, **reward):
    from omegaconf import OmegaConf

    return OmegaConf.create(
        {
            "actor_rollout_ref": {"model": {"path": str(tiny_model), "tokenizer_path": None}},
            "reward": {
                "num_workers": 1,
                "custom_reward_function": {"path": None, "name": "compute_score", "reward_kwargs": {}},
                "reward_manager": {"source": "register", "name": "naive", "module": {"path": None}},
                "reward_model": {"enable": False},
            }
            | reward,
        }
    )
