"""The literal vectors that methods of the GRPO family are checked on: four sequences of one group."""

import torch

from rl.losses import LossInputs
from rl.types import UpdateCounts

SCORES = [1.0, 0.0, 0.0, 1.0]
LENGTHS = [2, 4, 3, 1]
DELTA = [[0.30, -0.05], [-0.40, 0.10, 0.25, 0.0], [0.02, -0.30, 0.15], [0.50]]
START = [[-1.0, -0.5], [-0.2, -0.7, -1.5, -0.1], [-2.0, -0.3, -0.9], [-0.6]]
GAP = [[0.1, -0.2], [0.9, 0.0, -0.05, 0.02], [-0.8, 0.1, 0.05], [0.0]]  # start minus sampler
COUNTS = UpdateCounts(num_tokens=10, num_sequences=4)
STD1, CENTRED = (0.866024, -0.866024, -0.866024, 0.866024), (0.5, -0.5, -0.5, 0.5)


def flat(rows, dtype=torch.float64):
    return torch.tensor([value for row in rows for value in row], dtype=dtype)


def inputs(advantages=STD1, *, with_gap=False, dtype=torch.float64, **changes) -> LossInputs:
    start, sequence = flat(START, dtype), torch.tensor([s for s, n in enumerate(LENGTHS) for _ in range(n)])
    streams = {
        "learner_logprobs_N": (start + flat(DELTA, dtype)).requires_grad_(),
        "start_logprobs_N": start,
        "sampler_logprobs_N": start - flat(GAP, dtype) if with_gap else start.clone(),
        "advantages_N": torch.tensor(advantages, dtype=dtype)[sequence],
        "sequence_N": sequence,
        "length_S": torch.tensor(LENGTHS),
    }
    return LossInputs(**(streams | changes))
