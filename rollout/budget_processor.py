"""vLLM's end of the thinking budget: a logits processor that leaves a forced token alone its probability."""

from typing import Any

from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from rollout.budget import ThinkingBudget


class BudgetProcessor(AdapterLogitsProcessor):
    """Named to vLLM as one of `logits_processors`; acts on requests with a `ThinkingBudget` in their `extra_args`."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        budget = ThinkingBudget.read(params.extra_args)
        if budget is None:
            return None

        def force(output_ids: list[int], logits_V: Tensor) -> Tensor:
            token = budget.forced_token(output_ids)
            if token is None:
                return logits_V
            forced_V = logits_V.new_full(logits_V.shape, float("-inf"))
            forced_V[token] = 0.0
            return forced_V

        return force
