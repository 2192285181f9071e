"""Our policy losses and advantages in verl's registries, as `sharpen_NAME`.

`actor.policy_loss.loss_mode=sharpen_gspo` and `algorithm.adv_estimator=sharpen_batch_std`, for example.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss, register_adv_est, register_policy_loss

from rl.advantages import ADVANTAGES, make_advantage
from rl.correction import log_ratio
from rl.losses import POLICY_LOSSES, LossConfig, LossInputs


def policy_loss(
    name: str,
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """One of POLICY_LOSSES on verl's padded tensors [responses, tokens]; bounds and aggregation are verl's config's.

    `rollout_is_weights` are verl's importance weights, which multiply the loss of each token.
    """
    mask = response_mask.bool()
    streams = [stream[mask].float() for stream in (log_prob, old_log_prob, advantages)]
    learner_N, start_N, advantages_N = streams[0], streams[1].detach(), streams[2].detach()
    inputs = LossInputs(
        learner_logprobs_N=learner_N,
        start_logprobs_N=start_N,
        sampler_logprobs_N=start_N,  # verl has corrected the gap itself, by its weights
        advantages_N=advantages_N,
        sequence_N=mask.nonzero()[:, 0],
        length_S=mask.sum(-1),
    )
    loss_N, metrics = POLICY_LOSSES[name](inputs, log_ratio(learner_N, start_N), loss_config(name, config))
    losses = torch.zeros(mask.shape, dtype=loss_N.dtype, device=loss_N.device).masked_scatter(mask, loss_N)
    if rollout_is_weights is not None:
        losses = losses * rollout_is_weights
    loss = agg_loss(losses, response_mask, loss_agg_mode, **config.global_batch_info)
    count = max(1, len(loss_N))
    return loss, {key.replace("loss/", "actor/"): float(value.float().sum()) / count for key, value in metrics.items()}


def loss_config(name: str, config: Any) -> LossConfig:
    """verl's bounds as ours: ratios are clipped to [1 - low, 1 + high], and no ratio is below 0."""
    low = config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low
    high = config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high
    dual = {"dual_clip": config.clip_ratio_c} if name == "grpo" else {}
    return LossConfig(name=name, clip_low=min(low, 1.0), clip_high=high, **dual)


def advantage(
    name: str, token_level_rewards: Tensor, response_mask: Tensor, index: Any, **_: Any
) -> tuple[Tensor, Tensor]:
    """One of ADVANTAGES on the sum of each response's rewards; `index` names the group of a response.

    A response whose reward is not a number is unscored: in no mean or deviation, and its advantage is 0. The second
    answer, verl's returns, is the first.
    """
    scores = [score if score == score else None for score in token_level_rewards.sum(-1).tolist()]
    groups: dict[Any, list[int]] = {}
    for row, group in enumerate(index):
        groups.setdefault(group, []).append(row)
    by_group = make_advantage(name)([[scores[row] for row in rows] for rows in groups.values()])
    values = torch.zeros(len(scores), dtype=torch.float32)
    for rows, row_values in zip(groups.values(), by_group, strict=True):
        values[rows] = torch.tensor(row_values, dtype=torch.float32)
    advantages = values.to(response_mask.device)[:, None] * response_mask
    return advantages, advantages


for _name in POLICY_LOSSES:
    register_policy_loss(f"sharpen_{_name}")(partial(policy_loss, _name))
for _name in ADVANTAGES:
    register_adv_est(f"sharpen_{_name}")(partial(advantage, _name))
