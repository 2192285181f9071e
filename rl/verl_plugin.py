"""What verl's own trainers have of ours, loaded through its entry point `verl.plugins` (docs/verl.md).

Its import registers the engine `deepspeed`, the losses and advantages `sharpen_NAME`, and a CPU as a platform. The
reward manager is chosen by `reward.reward_manager.source=importlib reward.reward_manager.name=SharpenRewardManager
reward.reward_manager.module.path=pkg://rl.verl_plugin`, and what it needs stands under `+reward.sharpen`.
"""

from importlib import import_module
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from rewards.adapters.background import AdapterConfig, plain, shared_scorer
from rewards.adapters.verl import make_request, to_verl

# In this order: verl asks for its platform once, when its engines are imported.
for _part in ("rl.verl_platform", "rl.verl_engine", "rl.verl_losses"):
    import_module(_part)


class SharpenRewardManager(RewardManagerBase):
    """Judges a sample by its task, with its prompt as the question, while others are still being sampled.

    A response that could not be scored is judged again `num_attempts` times in all; then it has the number of
    `unscored`, or the run stops. `reward.sharpen` holds `task`, `num_attempts` and the fields of AdapterConfig.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        options = dict(plain(config.reward.get("sharpen") or {}))
        self.task: str | None = options.pop("task", None)
        self.num_attempts: int = options.pop("num_attempts", 2)
        self.scoring = AdapterConfig.model_validate(options)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """verl's answer for one sample: `reward_score`, and the same extra fields for every task."""
        item = data[-1:][0]  # of a multi-sequence output the last one is judged, as verl's own managers do
        response_ids = item.batch["responses"]
        length = item.batch["attention_mask"][-response_ids.shape[-1] :].sum()
        text = await self.loop.run_in_executor(
            None, lambda: self.tokenizer.decode(response_ids[:length], skip_special_tokens=True)
        )
        fields = item.non_tensor_batch
        extra = {"question": plain(fields.get("raw_prompt")) or ""} | dict(fields.get("extra_info") or {})
        reference = fields["reward_model"]["ground_truth"]
        request = make_request(fields["data_source"], text, reference, extra, self.task)
        scorer = shared_scorer(self.scoring)
        for _ in range(self.num_attempts):
            (result,) = await scorer.score_async([request])
            if result.score is not None:
                break
        answer = to_verl(result, self.scoring)
        return {"reward_score": answer.pop("score"), "reward_extra_info": answer}
