"""Reward models: the loss by hand, pairs read with clear errors, packing that changes nothing."""

import json
import math
from dataclasses import replace

import pytest
import torch

from rl.batch import PackingConfig, pack
from rl.config_file import find_config, load_config
from rl.models import resolve_model
from rl.objectives import make_objective
from rl.pair_evals import read_held_out
from rl.pairs import make_examples, pair_stream, to_pair
from rl.pairwise import PairwiseConfig
from rl.reward_model import load_reward_model
from rl.row_stream import RowSourceConfig
from rl.types import Computed, UpdateCounts
from rollout.chat import Chat

SMOKE = "configs/smoke/reward_model.yaml"


class LetterRenderer:
    """Each letter a token."""

    def render_whole(self, messages):
        return tuple(ord(letter) for message in messages for letter in message["content"])


def pairs(count, **options):
    chat = Chat(resolve_model("package:tiny-qwen3"))
    source = RowSourceConfig(generator="rl.arithmetic:pair", options=options)
    return pair_stream([source], 0, chat, 200).take(count).examples


def test_held_out_pairs_are_others_than_those_of_training_and_none_twice(tmp_path, caplog):
    chat = Chat(resolve_model("package:tiny-qwen3"))
    rows = [{"prompt": f"What is {n}?", "chosen": "It is.", "rejected": "It was."} for n in range(5)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(find_config(SMOKE))
    config = config.model_copy(update={"validation": config.sources[0]})  # the same generator, with no other split
    trained = pair_stream(config.sources, config.seed, chat, config.max_tokens).take(64).examples
    asked = set().union(*(row_ids(update) for update in read_held_out(config, chat).updates))
    again = set().union(*(row_ids(update) for update in pack(trained, config.packing, num_ranks=1).updates))
    assert len(asked) > 20
    assert len(asked & again) < 0.5 * len(asked), "few sums of the generator are drawn by both"
    short = config.model_copy(update={"validation": RowSourceConfig(path=str(tmp_path / "pairs.jsonl"))})
    (update,) = read_held_out(short, chat).updates
    assert update.counts.num_sequences == 10, "five pairs, each once"
    assert "5 held-out pairs, num_validation_pairs is 64" in caplog.text


def row_ids(update):
    """The rows of an update as token ids, without padding."""
    found = set()
    for rank in update.micro_batches:
        for micro in rank:
            for ids, groups in zip(micro.input_ids_BT.tolist(), micro.group_BT.tolist(), strict=True):
                found.add(tuple(token for token, group in zip(ids, groups, strict=True) if group >= 0))
    return found


def objective_on(scores, margins, lengths, **config):
    """The objective on scores of pairs whose answers have these lengths (tokens)."""
    ((micro,),) = pack(pairs(1), PackingConfig(share_prefix=True), num_ranks=1).updates[0].micro_batches
    count = len(scores)
    micro = replace(
        micro,
        source_N=torch.arange(count),
        positions_BT=torch.tensor([lengths]),
        advantages_N=torch.tensor(margins),
    )
    scores_N = torch.tensor(scores, requires_grad=True)
    objective = make_objective(PairwiseConfig(**config))
    counts = UpdateCounts(num_tokens=count, num_sequences=count)
    loss, sums = objective(micro, Computed(logprobs_N=scores_N, entropy_N=torch.zeros(count)), counts)
    loss.backward()
    return loss.item(), scores_N.grad, objective.metrics({name: float(v) for name, v in sums.items()}, 1)


def test_the_loss_by_hand():
    """Pairs (2, 1) with margin 0.5 and (0, 1) without one, centring 0.1."""
    loss, gradient, metrics = objective_on([2.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.0, 0.0], [10, 5, 7, 9], centring=0.1)
    first, second = math.log1p(math.exp(-0.5)), math.log1p(math.exp(1.0))
    assert loss == pytest.approx((first + 0.1 * 9 + second + 0.1 * 1) / 2)
    pull = 1 / (1 + math.exp(0.5))  # σ(−gap)
    assert gradient[0].item() == pytest.approx((-pull + 0.2 * 3) / 2)
    assert gradient[1].item() == pytest.approx((pull + 0.2 * 3) / 2)
    assert metrics["reward_model/pair_accuracy"] == 0.5
    assert metrics["reward_model/gap"] == 0
    assert metrics["reward_model/longer_is_better"] == 0.5
    assert metrics["reward_model/length_correlation"] == pytest.approx(1.0)  # two points: gaps 1, -1; lengths 5, -2


def test_margins_can_be_left_out():
    with_margin, *_ = objective_on([2.0, 1.0], [0.5, 0.5], [3, 3], centring=0.0)
    without, *_ = objective_on([2.0, 1.0], [0.5, 0.5], [3, 3], centring=0.0, use_margin=False)
    assert without == pytest.approx(math.log1p(math.exp(-1.0)))
    assert with_margin > without


def test_a_length_that_never_differs_has_no_correlation():
    *_, metrics = objective_on([2.0, 1.0, 0.0, 1.0], [0.0] * 4, [5, 5, 6, 6])
    assert math.isnan(metrics["reward_model/length_correlation"])


def test_a_dummy_of_one_sequence_counts_for_nothing():
    loss, gradient, _ = objective_on([2.0], [0.0], [5])
    assert loss == 0
    assert gradient.tolist() == [0.0]


def test_the_score_is_read_at_the_last_token_and_the_question_is_shared():
    pair = to_pair({"prompt": "hi ", "chosen": "abc", "rejected": "axy z", "margin": 2}, "row 0")
    chosen, rejected = make_examples(pair, LetterRenderer(), 0)
    assert chosen.prefix_length == rejected.prefix_length == len("hi a")
    assert chosen.token_ids[:-1] == tuple(map(ord, "hi abc"))
    assert [i for i, trained in enumerate(rejected.trainable) if trained] == [len("hi axy z")]
    assert chosen.advantages[-1] == 2.0


def test_one_answer_may_be_the_beginning_of_the_other():
    pair = to_pair({"prompt": "hi ", "chosen": "ab", "rejected": "abc"}, "row 0")
    assert [e.prefix_length for e in make_examples(pair, LetterRenderer(), 0)] == [4, 4]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "q", "chosen": "a"}, "rejected: no list messages"),
        ({"chosen": "a", "rejected": "b"}, "chosen: a question, and last the assistant's answer"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are the same"),
        ({"prompt": "q", "chosen": "<think>x</think>a", "rejected": "<think>y</think>\n\na"}, "are the same"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": -1}, "margin must be a number from 0"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": True}, "margin must be a number from 0"),
        (
            {
                "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}],
            },
            "answer different conversations",
        ),
    ],
)
def test_a_bad_row_is_named(row, fault):
    with pytest.raises(ValueError, match=f"row 7.*{fault}"):
        to_pair(row, "row 7")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("packing.share_prefix=auto", "share_prefix must be true"),
        ("packing={share_prefix: true, tokens_per_micro_batch: 200}", "at least twice that"),
    ],
)
def test_a_packing_that_would_part_a_pair_is_refused(change, fault):
    with pytest.raises(ValueError, match=fault):
        load_config(find_config(SMOKE), [change])


@pytest.mark.parametrize(("tokens_per_row", "budget"), [(0, 10_000), (512, 1024), (0, 200)])
def test_packed_scores_are_those_of_transformers(tokens_per_row, budget):
    torch.manual_seed(0)
    model = load_reward_model(resolve_model("package:tiny-qwen3"), dtype=torch.float32)
    made = pairs(4)
    packing = PackingConfig(share_prefix=True, tokens_per_row=tokens_per_row, tokens_per_micro_batch=budget)
    ((*micros,),) = pack(made, packing, num_ranks=1).updates[0].micro_batches
    with torch.no_grad():
        packed = torch.cat([model(*micro.model_inputs)[0] for micro in micros])
        alone = [model.model(input_ids=torch.tensor([e.token_ids[:-1]])).logits.item() for e in made]
    assert sorted(packed.tolist()) == pytest.approx(sorted(alone), abs=1e-5)
    gaps = (packed.view(-1, 2)[:, 0] - packed.view(-1, 2)[:, 1]).tolist()
    assert sorted(gaps) == pytest.approx(sorted(alone[i] - alone[i + 1] for i in range(0, 8, 2)), abs=1e-5)
