"""Packing: a hand-written example to the letter, and what may never change however rows are laid out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.types import RewardResult
from rl.batch import PackingConfig, collate, make_examples, make_rows, make_units, pack
from rl.types import Example, MicroBatch, ScoredGroup, TrainBatch
from rollout.types import Group, Prompt, Sample


def example(
    group: str, prefix: tuple[int, ...], response: tuple[int, ...], *, trainable=None, advantage=1.0
) -> Example:
    trained = trainable or (True,) * len(response)
    zeros = (0.0,) * len(prefix)
    return Example(
        token_ids=prefix + response,
        trainable=(False,) * len(prefix) + trained,
        prefix_id=group,
        prefix_length=len(prefix),
        advantages=zeros + tuple(advantage if t else 0.0 for t in trained),
        sampler_logprobs=zeros + tuple(-float(token) for token in response),
    )


def lengths_example(group: str, prefix: int, response: int, advantage: float = 1.0) -> Example:
    return example(group, (1,) * prefix, (2,) * response, advantage=advantage)


A1 = example("a", (10, 11), (12, 13, 14), trainable=(True, False, True), advantage=0.5)
A2 = example("a", (10, 11), (15,), advantage=-0.5)
B1 = example("b", (20,), (21, 22))


def test_a_shared_row_beside_a_shorter_one():
    micro = collate([_units([A1, A2], True), _units([B1], True)])
    assert micro.input_ids_BT.tolist() == [[10, 11, 12, 13, 14, 15], [20, 21, 22, 0, 0, 0]]
    assert micro.positions_BT.tolist() == [[0, 1, 2, 3, 4, 2], [0, 1, 2, 0, 0, 0]]
    assert micro.group_BT.tolist() == [[0, 0, 0, 0, 0, 0], [0, 0, 0, -1, -1, -1]]
    assert micro.segment_BT.tolist() == [[0, 0, 1, 1, 1, 2], [0, 1, 1, 0, 0, 0]]
    # 12 and 15 are both predicted by the prompt's last token; 13 was not sampled; row 1 starts at 6.
    assert micro.source_N.tolist() == [1, 3, 1, 6, 7]
    assert micro.target_N.tolist() == [12, 14, 15, 21, 22]
    assert micro.sequence_N.tolist() == [0, 0, 1, 2, 2]
    assert micro.length_S.tolist() == [2, 1, 2]
    assert micro.advantages_N.tolist() == [0.5, 0.5, -0.5, 1.0, 1.0]
    assert micro.sampler_logprobs_N.tolist() == [-12.0, -14.0, -15.0, -21.0, -22.0]


def test_several_units_in_one_row_start_again():
    micro = collate([_units([A2], False) + _units([B1], False) + _units([A1], False)])
    assert micro.input_ids_BT.tolist() == [[10, 11, 15, 20, 21, 22, 10, 11, 12, 13, 14]]
    assert micro.positions_BT.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert micro.group_BT.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]]
    assert micro.segment_BT.tolist() == [[0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1]]
    assert micro.source_N.tolist() == [1, 3, 4, 7, 9]
    assert micro.target_N.tolist() == [15, 21, 22, 12, 14]


def test_an_absent_stream_stays_absent():
    bare = Example(token_ids=(1, 2), trainable=(False, True), prefix_id="a", prefix_length=1)
    micro = collate([_units([bare], True)])
    assert micro.advantages_N is None
    assert micro.sampler_logprobs_N is None
    assert bare.has_signal


def _units(examples: list[Example], share: bool):
    return tuple(make_units(examples, PackingConfig(share_prefix=share)))


def test_examples_of_samples():
    def sample(tokens, logprobs, sampled):
        return Sample(
            token_ids=tokens, logprobs=logprobs, sampled=sampled, text="", finish_reason="stop", policy_version=0
        )

    group = Group(
        prompt=Prompt(id="p", messages=(), task="math", reference="1"),
        prompt_token_ids=(7, 8),
        think_block="none",
        samples=(
            sample((1, 2, 3), (-0.1, 0.0, -0.3), (True, False, True)),
            sample((4,), (-0.4,), (True,)),
            sample((5,), (-0.5,), (True,)),
        ),
    )
    rewards = (RewardResult(score=1.0), RewardResult(score=None, status="timeout"), RewardResult(score=0.0))
    first, second = make_examples([ScoredGroup(group=group, rewards=rewards, draw=3)], [[0.5, 0.0, -0.5]])
    assert first == Example(
        token_ids=(7, 8, 1, 2, 3),
        trainable=(False, False, True, False, True),
        prefix_id="3",
        prefix_length=2,
        advantages=(0.0, 0.0, 0.5, 0.0, 0.5),
        sampler_logprobs=(0.0, 0.0, -0.1, 0.0, -0.3),
    )
    assert (second.token_ids, second.advantages) == ((7, 8, 5), (0.0, 0.0, -0.5))


@pytest.mark.parametrize(("prefix", "response", "shared"), [(44, 23, True), (10, 4000, False)])
def test_auto_shares_where_it_pays(prefix, response, shared):
    group = [lengths_example("a", prefix, response) for _ in range(8)]
    for budget in (8192, 10**6):
        units = make_units(group, PackingConfig(tokens_per_micro_batch=budget))
        assert [len(unit.examples) for unit in units] == ([8] if shared else [1] * 8)


def test_a_long_group_is_cut_within_the_budget():
    group = [lengths_example("a", 10, n) for n in (30, 30, 30, 100, 5, 5)]
    units = make_units(group, PackingConfig(share_prefix=True, tokens_per_micro_batch=70))
    assert [unit.num_tokens for unit in units] == [70, 40, 110, 20]
    assert [e for unit in units for e in unit.examples] == group


def test_rows_are_filled_first_fit_by_decreasing_length():
    units = make_units([lengths_example(str(n), 1, n) for n in (3, 5, 2, 7)], PackingConfig())
    rows = make_rows(units, 10)
    assert [[unit.num_tokens for unit in row] for row in rows] == [[8], [6, 4], [3]]
    assert [len(row) for row in make_rows(units, 0)] == [1, 1, 1, 1]


def test_a_row_is_never_longer_than_the_budget():
    config = PackingConfig(tokens_per_row=1000, tokens_per_micro_batch=30)
    batch = pack([lengths_example(str(n), 2, 8) for n in range(9)], config, num_ranks=1)
    assert [tuple(m.input_ids_BT.shape) for m in batch.updates[0].micro_batches[0]] == [(1, 30)] * 3


def test_counts_keep_the_groups_that_are_skipped():
    live = [lengths_example("a", 3, 4), lengths_example("a", 3, 2, advantage=-1.0)]
    flat = [lengths_example("b", 3, 5, advantage=0.0), lengths_example("b", 3, 6, advantage=0.0)]
    for skip, computed in ((False, 17), (True, 6)):
        (update,) = pack(live + flat, PackingConfig(), num_ranks=1, skip_flat=skip).updates
        assert (update.counts.num_tokens, update.counts.num_sequences) == (17, 4)
        assert sum(len(m.target_N) for m in update.micro_batches[0]) == computed


@pytest.mark.parametrize(("skip", "trained", "skipped"), [(False, 17, 0), (True, 6, 0.5)])
@pytest.mark.parametrize("num_ranks", [1, 3])
def test_trained_tokens_are_those_that_are_learned_from(skip, trained, skipped, num_ranks):
    live = [lengths_example("a", 3, 4), lengths_example("a", 3, 2, advantage=-1.0)]
    flat = [lengths_example("b", 3, 5, advantage=0.0), lengths_example("b", 3, 6, advantage=0.0)]
    packing = pack(live + flat, PackingConfig(), num_ranks=num_ranks, skip_flat=skip).packing
    assert (packing["pack/trained_tokens"], packing["pack/skipped_rate"]) == (trained, skipped)


def test_nothing_live_leaves_dummies_alone():
    flat = [lengths_example("a", 3, 4, advantage=0.0), lengths_example("a", 3, 2, advantage=0.0)]
    (update,) = pack(flat, PackingConfig(), num_ranks=2, skip_flat=True).updates
    assert update.weights == ((0.0,), (0.0,))
    assert [m.input_ids_BT.tolist() for rank in update.micro_batches for m in rank] == [[[1, 1, 1, 2, 2]]] * 2
    assert (update.counts.num_tokens, update.counts.num_sequences) == (6, 2)
    assert pack(flat, PackingConfig(), num_ranks=2, skip_flat=True).packing["pack/trained_tokens"] == 0


def test_ranks_keep_step_by_dummies_of_weight_zero():
    (update,) = pack([lengths_example("a", 3, 4)], PackingConfig(), num_ranks=3).updates
    assert [len(rank) for rank in update.micro_batches] == [1, 1, 1]
    assert sorted(update.weights) == [(0.0,), (0.0,), (1.0,)]


def test_updates_take_whole_groups_in_their_order():
    groups = [[lengths_example(str(g), 3, 2 + s) for s in range(2)] for g in range(5)]
    batch = pack([e for group in groups for e in group], PackingConfig(), num_ranks=1, num_updates=2)
    assert [u.counts.num_sequences for u in batch.updates] == [4, 6]
    few = pack(groups[0], PackingConfig(), num_ranks=1, num_updates=4)
    assert len(few.updates) == 1


def numbered(shape: list[tuple[int, list[int]]]) -> list[Example]:
    """Groups of (prefix length, response lengths) in which every response token is another number."""
    made, token = [], 1000
    for group, (prefix, responses) in enumerate(shape):
        for response in responses:
            made.append(example(str(group), (group + 1,) * prefix, tuple(range(token, token + response))))
            token += response
    return made


def trained_tokens(batch: TrainBatch) -> list[tuple[int, ...]]:
    """Each sequence that counts, read back from its packed micro-batch, all micro-batch invariants checked."""
    sequences = []
    for update in batch.updates:
        assert len({len(rank) for rank in update.micro_batches}) == 1, "ranks keep step"
        for rank, weights in zip(update.micro_batches, update.weights, strict=True):
            for micro, weight in zip(rank, weights, strict=True):
                read = _read_back(micro)
                sequences += read if weight else []
    return sequences


def _read_back(micro: MicroBatch) -> list[tuple[int, ...]]:
    ids, positions = micro.input_ids_BT.flatten(), micro.positions_BT.flatten()
    groups, segments = micro.group_BT.flatten(), micro.segment_BT.flatten()
    place = {int(token): i for i, token in enumerate(ids) if token >= 1000}
    target = torch.tensor([place[int(token)] for token in micro.target_N])
    # The predicting position sees the same group, comes one earlier, and is of this response or the prefix.
    assert torch.equal(positions[micro.source_N] + 1, positions[target])
    assert torch.equal(groups[micro.source_N], groups[target])
    first = segments[micro.source_N] != segments[target]
    assert not segments[micro.source_N][first].any()
    assert torch.equal(-micro.sampler_logprobs_N, micro.target_N.float())
    assert micro.sequence_N.bincount(minlength=len(micro.length_S)).tolist() == micro.length_S.tolist()
    return [tuple(part.tolist()) for part in micro.target_N.split(micro.length_S.tolist())]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1),
    share=st.sampled_from([True, False, "auto"]),
    tokens_per_row=st.sampled_from([0, 12, 40]),
    budget=st.sampled_from([16, 60, 8192]),
    num_ranks=st.integers(1, 3),
    num_updates=st.integers(1, 3),
)
def test_each_trainable_token_is_computed_once(shape, share, tokens_per_row, budget, num_ranks, num_updates):
    examples = numbered(shape)
    config = PackingConfig(share_prefix=share, tokens_per_row=tokens_per_row, tokens_per_micro_batch=budget)
    batch = pack(examples, config, num_ranks=num_ranks, num_updates=num_updates)
    expected = sorted(e.token_ids[e.prefix_length :] for e in examples)
    assert sorted(trained_tokens(batch)) == expected
    assert sum(u.counts.num_tokens for u in batch.updates) == sum(map(len, expected))
    assert sum(u.counts.num_sequences for u in batch.updates) == len(examples)
    assert len(batch.updates) == min(num_updates, len(shape))
    longest = max(len(e.token_ids) for e in examples)
    sizes = [m.input_ids_BT.numel() for u in batch.updates for rank in u.micro_batches for m in rank]
    assert max(sizes) <= max(budget, longest)


@pytest.mark.parametrize("tokens_per_row", [0, 24])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_ranks_get_like_numbers_of_tokens(num_ranks, share, tokens_per_row):
    examples = numbered([(3, [2, 5, 4, 3])] * 12)
    config = PackingConfig(share_prefix=share, tokens_per_row=tokens_per_row, tokens_per_micro_batch=48)
    (update,) = pack(examples, config, num_ranks=num_ranks).updates
    loads = []
    for rank, weights in zip(update.micro_batches, update.weights, strict=True):
        loads.append(sum(int(w * (m.group_BT >= 0).sum()) for m, w in zip(rank, weights, strict=True)))
    assert max(loads) - min(loads) <= 24
    assert sum(loads) == 12 * (17 if share else 26)
