"""A literal training batch, and the prompts of a config, that several tests share."""

import random

from rl.batch import PackingConfig, pack
from rl.config import GRPOConfig
from rl.prompts import PromptStream
from rl.types import Example, TrainBatch
from rollout.types import Prompt


def examples(num_groups: int = 4, num_samples: int = 4, seed: int = 0, vocabulary: int = 250) -> list[Example]:
    """Groups of random tokens with advantages that sum to nearly nothing."""
    rng = random.Random(seed)
    made = []
    for group in range(num_groups):
        prefix = tuple(rng.randrange(vocabulary) for _ in range(rng.randint(3, 9)))
        for sample in range(num_samples):
            response = tuple(rng.randrange(vocabulary) for _ in range(rng.randint(2, 12)))
            zeros = (0.0,) * len(prefix)
            advantage = (1.0, -0.5, 0.25, -0.75)[sample % 4]
            made.append(
                Example(
                    token_ids=prefix + response,
                    trainable=(False,) * len(prefix) + (True,) * len(response),
                    prefix_id=str(group),
                    prefix_length=len(prefix),
                    advantages=zeros + (advantage,) * len(response),
                    sampler_logprobs=zeros + (-5.5,) * len(response),
                )
            )
    return made


def batch_of(*, num_ranks: int, num_updates: int = 1, tokens_per_micro_batch: int = 128, **packing) -> TrainBatch:
    config = PackingConfig(tokens_per_micro_batch=tokens_per_micro_batch, **packing)
    return pack(examples(), config, num_ranks=num_ranks, num_updates=num_updates)


def drawn_prompts(config: GRPOConfig, count: int) -> list[Prompt]:
    """The first prompts that a run of the config draws."""
    stream = PromptStream(config.prompts, config.seed)
    return [stream.draw().prompt for _ in range(count)]
