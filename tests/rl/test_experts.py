"""Settings for mixtures of experts: refused or warned about by name."""

import logging

import pytest

from rl.experts import check_experts, load_balancing_coefficient
from rl.learner import LearnerConfig
from rl.losses import LossConfig
from rl.models import resolve_model
from rl.objectives import CrossEntropyConfig
from rl.pairwise import PairwiseConfig
from rl.teacher import AlignmentConfig, TeacherConfig

REPLAY = {"routing_replay": "start", "updates_per_step": 2}


@pytest.mark.parametrize("settings", [{"load_balancing": 0.01}, REPLAY], ids=str)
def test_settings_for_experts_are_refused_where_there_are_none(settings):
    dense = resolve_model("package:tiny-qwen3")
    with pytest.raises(ValueError, match=rf"learner\.{next(iter(settings))} is .*\(qwen3\) has no experts: leave it"):
        check_experts(dense, LearnerConfig(**settings), LossConfig())
    check_experts(dense, LearnerConfig(load_balancing=0), LossConfig())
    check_experts(dense, LearnerConfig(), CrossEntropyConfig())


def test_another_kind_of_mixture_is_refused_by_its_name(tmp_path):
    from transformers import MixtralConfig

    MixtralConfig(num_local_experts=4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"\(mixtral\) is another mixture of experts"):
        check_experts(str(tmp_path), LearnerConfig(load_balancing=0.01), CrossEntropyConfig())
    check_experts(str(tmp_path), LearnerConfig(), CrossEntropyConfig())


def test_replay_needs_ratios():
    with pytest.raises(ValueError, match="updates_per_step is 1"):
        LearnerConfig(routing_replay="start")
    with pytest.raises(ValueError, match="supervised training has no ratios"):
        check_experts(resolve_model("package:tiny-qwen3-moe"), LearnerConfig(**REPLAY), CrossEntropyConfig())


@pytest.mark.parametrize(
    ("model", "learner", "loss", "warned"),
    [
        ("package:tiny-qwen3-moe", {"updates_per_step": 2}, "grpo", True),
        ("package:tiny-qwen3-moe", {"updates_per_step": 2}, "cispo", True),
        ("package:tiny-qwen3-moe", {"updates_per_step": 2}, "gspo", False),
        ("package:tiny-qwen3-moe", {"updates_per_step": 1}, "grpo", False),
        ("package:tiny-qwen3-moe", REPLAY, "grpo", False),
        ("package:tiny-qwen3", {"updates_per_step": 2}, "grpo", False),
    ],
)
def test_token_ratios_without_replay_are_warned_about(caplog, model, learner, loss, warned):
    with caplog.at_level(logging.WARNING, "rl.experts"):
        check_experts(resolve_model(model), LearnerConfig(**learner), LossConfig(name=loss))
    assert [f"loss.name is {loss} with 2 updates" in record.getMessage() for record in caplog.records] == [
        True
    ] * warned


def test_balancing_is_on_in_supervised_fine_tuning_alone():
    assert load_balancing_coefficient(LearnerConfig(), CrossEntropyConfig()) == 1e-3
    taught = AlignmentConfig(teacher=TeacherConfig(model="t"), vocabulary_size=8)
    for other in (LossConfig(), taught, PairwiseConfig()):
        assert load_balancing_coefficient(LearnerConfig(), other) == 0
        assert load_balancing_coefficient(LearnerConfig(load_balancing=0.5), other) == 0.5
    assert load_balancing_coefficient(LearnerConfig(load_balancing=0), CrossEntropyConfig()) == 0
