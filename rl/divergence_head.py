"""Divergences of the student from its teacher over the whole vocabulary, at an output head, in chunks of tokens.

With p_T and p_S the softmax of both models' logits over the temperature, and m = β p_T + (1 − β) p_S the mixture
(2306.13649 eq. 1 and 2); the gradient is that in the student's logits over the temperature:

| divergence | value | gradient |
|---|---|---|
| forward | KL(p_T ‖ p_S) | p_S − p_T |
| reverse | KL(p_S ‖ p_T) | p_S (log p_S − log p_T − value) |
| jensen_shannon | β KL(p_T ‖ m) + (1 − β) KL(p_S ‖ m) | (1 − β) p_S (log p_S − log m − KL(p_S ‖ m)) |

Axes: `N` tokens, `C` tokens of a chunk, `H` hidden (each model its own), `V` vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor


class DivergenceConfig(BaseModel):
    """What is minimised at each sampled token, by name; `temperature` divides the logits of both models.

    `beta` is the teacher's share in the mixture of jensen_shannon, above 0 and below 1. TRL and GKD call forward
    beta 0 and reverse beta 1: the limits of jensen_shannon over beta, and over 1 − beta. Values are not multiplied
    by the squared temperature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["forward", "reverse", "jensen_shannon"] = "reverse"
    beta: float = Field(0.5, ge=0, le=1)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"

    @model_validator(mode="after")
    def _check_beta(self) -> Self:
        if self.name != "jensen_shannon" and self.beta != 0.5:
            raise ValueError(f"divergence.beta is {self.beta}, but {self.name} has none: leave it out")
        if self.beta in (0, 1):
            meant = "forward" if self.beta == 0 else "reverse"
            raise ValueError(f"divergence.beta is {self.beta}, where jensen_shannon is zero: set name: {meant}")
        return self


class Alignment(NamedTuple):
    """How the student stands to its teacher at each token, [N] float32, nats; `divergence_N` alone has a gradient.

    All of it is at the temperature of the divergence and over the common vocabulary.
    """

    divergence_N: Tensor
    forward_kl_N: Tensor
    reverse_kl_N: Tensor
    teacher_entropy_N: Tensor
    agreement_N: Tensor  # 1 where both have the same most probable token


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentSettings:
    """`vocabulary_size`: ids from there on are padding of an embedding, masked in both models. `chunk`: tokens."""

    divergence: DivergenceConfig
    sampling_temperature: float
    vocabulary_size: int
    chunk: int


def kl(left_CV: Tensor, right_CV: Tensor) -> Tensor:
    """KL(left ‖ right) of log-probs, [C]."""
    return torch.linalg.vecdot(left_CV.exp(), left_CV - right_CV)


def mixture(student_CV: Tensor, teacher_CV: Tensor, beta: float) -> Tensor:
    """log(β p_T + (1 − β) p_S)."""
    return torch.logaddexp(teacher_CV + math.log(beta), student_CV + math.log1p(-beta))


def divergence_value(student_CV: Tensor, teacher_CV: Tensor, config: DivergenceConfig) -> Tensor:
    """The divergence of two distributions, given as log-probs, [C]."""
    if config.name == "forward":
        return kl(teacher_CV, student_CV)
    if config.name == "reverse":
        return kl(student_CV, teacher_CV)
    mixture_CV = mixture(student_CV, teacher_CV, config.beta)
    return config.beta * kl(teacher_CV, mixture_CV) + (1 - config.beta) * kl(student_CV, mixture_CV)


def divergence_gradient(student_CV: Tensor, teacher_CV: Tensor, config: DivergenceConfig) -> Tensor:
    """Its gradient in the student's logits after the temperature, [C, V]."""
    probs_CV = student_CV.exp()
    if config.name == "forward":
        return probs_CV - teacher_CV.exp()
    if config.name == "reverse":
        slope_CV = student_CV - teacher_CV
    else:
        slope_CV = (1 - config.beta) * (student_CV - mixture(student_CV, teacher_CV, config.beta))
    return probs_CV * (slope_CV - torch.linalg.vecdot(probs_CV, slope_CV)[:, None])


class ChunkedDivergence(torch.autograd.Function):
    """Log-probs of the targets, entropies, and the fields of `Alignment`, [N] each, never [N, V] at once.

    The first two are of the distribution that was sampled: at the sampling temperature, padding included. The
    backward pass computes each chunk's logits again; only the student's hidden states and head get a gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        target_N: Tensor,
        teacher_hidden_NH: Tensor,
        teacher_weight_VH: Tensor,
        settings: AlignmentSettings,
    ):
        outputs = hidden_NH.new_empty(2 + len(Alignment._fields), hidden_NH.shape[0], dtype=torch.float32)
        for rows in _chunks(hidden_NH.shape[0], settings.chunk):
            logits_CV = F.linear(hidden_NH[rows], weight_VH).float()
            outputs[:2, rows] = _sampled(logits_CV, target_N[rows], settings.sampling_temperature)
            student_CV = _log_softmax(logits_CV, settings)
            teacher_CV = _log_softmax(F.linear(teacher_hidden_NH[rows], teacher_weight_VH).float(), settings)
            outputs[2:, rows] = torch.stack(
                Alignment(
                    divergence_N=divergence_value(student_CV, teacher_CV, settings.divergence),
                    forward_kl_N=kl(teacher_CV, student_CV),
                    reverse_kl_N=kl(student_CV, teacher_CV),
                    teacher_entropy_N=-torch.linalg.vecdot(teacher_CV.exp(), teacher_CV),
                    agreement_N=(student_CV.argmax(-1) == teacher_CV.argmax(-1)).float(),
                )
            )
        ctx.save_for_backward(hidden_NH, weight_VH, teacher_hidden_NH, teacher_weight_VH)
        ctx.settings = settings
        logprobs_N, entropy_N, divergence_N, *others = (row_N.clone() for row_N in outputs)
        ctx.mark_non_differentiable(logprobs_N, entropy_N, *others)
        return logprobs_N, entropy_N, divergence_N, *others

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        hidden_NH, weight_VH, teacher_hidden_NH, teacher_weight_VH = ctx.saved_tensors
        settings: AlignmentSettings = ctx.settings
        scale_N = grads[2] / settings.divergence.temperature
        grad_hidden_NH = torch.empty_like(hidden_NH)
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        common_VH = weight_VH[: settings.vocabulary_size]
        for rows in _chunks(hidden_NH.shape[0], settings.chunk):
            student_CV = _log_softmax(F.linear(hidden_NH[rows], common_VH).float(), settings)
            teacher_CV = _log_softmax(F.linear(teacher_hidden_NH[rows], teacher_weight_VH).float(), settings)
            grad_CV = divergence_gradient(student_CV, teacher_CV, settings.divergence).mul_(scale_N[rows, None])
            grad_CV = grad_CV.to(hidden_NH.dtype)
            grad_hidden_NH[rows] = grad_CV @ common_VH
            if grad_weight_VH is not None:
                grad_weight_VH[: settings.vocabulary_size] += (grad_CV.T @ hidden_NH[rows]).float()
        grad_weight = None if grad_weight_VH is None else grad_weight_VH.to(weight_VH.dtype)
        return grad_hidden_NH, grad_weight, None, None, None, None


def _chunks(count: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def _log_softmax(logits_CV: Tensor, settings: AlignmentSettings) -> Tensor:
    """Over the common vocabulary, at the temperature of the divergence."""
    return (logits_CV[:, : settings.vocabulary_size] / settings.divergence.temperature).log_softmax(-1)


def _sampled(logits_CV: Tensor, target_C: Tensor, temperature: float) -> Tensor:
    """Log-probs of the targets and entropies of the distribution that was sampled, [2, C]."""
    logprobs_CV = (logits_CV / temperature).log_softmax(-1)
    own_C = logprobs_CV.gather(-1, target_C[:, None]).squeeze(-1)
    return torch.stack([own_C, -torch.linalg.vecdot(logprobs_CV.exp(), logprobs_CV)])
