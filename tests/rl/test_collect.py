"""The collector: the bound on staleness, the order of draws, and what happens to groups that fail."""

import asyncio

import pytest

from rewards.combine import soft_overlong
from rl.collect import Collector
from rl.filters import build_group_filter
from rl.judgement import make_collect_group, reward_requests
from rl.prompts import Draw
from rl.seeds import derive_seed
from rl.types import ScoredGroup
from rollout.types import SamplingParams
from tests.fakes import FakeCollect, FakeSampler, FakeScorer, FakeStream, GatedCollect
from tests.real_parts import tasks_but_watchers


def collector(stream, collect, *, staleness=0, groups=4, draws=16, timeout_s=5.0, look_ahead=0) -> Collector:
    return Collector(
        stream,
        collect,
        groups_per_step=groups,
        max_staleness=staleness,
        max_draws_per_step=draws,
        timeout_s=timeout_s,
        look_ahead=look_ahead,
    )


@pytest.mark.parametrize("look_ahead", [0, 3, 100])
@pytest.mark.parametrize("draws", [4, 6, 40])
@pytest.mark.parametrize("staleness", [0, 1, 4])
@pytest.mark.parametrize("seed", range(8))
async def test_the_bound_on_staleness_holds(seed, staleness, draws, look_ahead):
    simulation = FakeCollect(seed, flat_rate=0.4, unscored_rate=0.1)
    stream, keep, seen = FakeStream(), build_group_filter(["zero_variance"]), []
    async with collector(stream, simulation, staleness=staleness, draws=draws, look_ahead=look_ahead) as line:
        for step in range(1, 25):
            try:
                groups, _ = await line.take(4, keep)
            except RuntimeError:
                continue  # every draw of this step was dropped
            for group in groups:
                (version,) = {sample.policy_version for sample in group.group.samples}
                seen.append(simulation_staleness := simulation.version - version)
                assert simulation_staleness <= staleness, f"step {step}"
            simulation.version += 1
            line.release(len(groups))
    assert simulation.most_under_way <= (staleness + 1) * 4
    assert staleness == 0 or max(seen) > 0, "nothing was ever stale: this proved nothing"


async def test_groups_come_in_the_order_of_their_draws():
    simulation, stream = FakeCollect(0), FakeStream()
    async with collector(stream, simulation, staleness=2) as line:
        order = []
        for _ in range(6):
            groups, _ = await line.take(4, lambda group: None)
            order += [group.draw for group in groups]
            line.release(4)
    assert order == list(range(24))


async def test_in_synchronous_mode_nothing_is_drawn_ahead():
    simulation, stream = FakeCollect(0), FakeStream()
    async with collector(stream, simulation) as line:
        await line.take(4, lambda group: None)
        await asyncio.sleep(0.01)
        assert stream.num_drawn == 4
        line.release(4)
        assert stream.num_drawn == 8


async def test_a_rejected_group_frees_its_slot_and_is_recorded():
    simulation, stream = FakeCollect(0), FakeStream()
    async with collector(stream, simulation) as line:
        groups, metrics = await line.take(4, lambda group: "odd" if group.draw % 2 else None)
        assert [group.draw for group in groups] == [0, 2, 4, 6]
        assert stream.rejected == [1, 3, 5]
        assert metrics["group/rejected"] == metrics["group/rejected/odd"] == 3


async def test_after_the_last_draw_a_step_trains_on_what_it_has():
    simulation, stream = FakeCollect(0), FakeStream()
    async with collector(stream, simulation, draws=6) as line:
        groups, metrics = await line.take(4, lambda group: None if group.draw == 2 else "flat")
    assert [group.draw for group in groups] == [2]
    assert metrics["group/rejected"] == 5


async def test_with_nothing_at_all_the_run_stops_and_says_why():
    simulation, stream = FakeCollect(0), FakeStream()
    async with collector(stream, simulation, draws=6) as line:
        with pytest.raises(RuntimeError, match=r"after 6 draws \(too easy 6 times\)"):
            await line.take(4, lambda group: "too easy")


async def test_a_group_that_never_comes_is_named():
    async def never(draw: Draw) -> ScoredGroup:
        await asyncio.sleep(3600)
        raise AssertionError

    async with collector(FakeStream(), never, timeout_s=0.05) as line:
        with pytest.raises(TimeoutError, match=r"prompt p0 \(draw 0\) had no finished group"):
            await line.take(4, lambda group: None)
    assert not [task for task in asyncio.all_tasks() if "<locals>.never" in repr(task)], (
        "no task outlives the collector"
    )


async def test_an_error_of_ours_surfaces():
    async def broken(draw: Draw) -> ScoredGroup:
        raise ValueError("prompt p0: does not fit")

    async with collector(FakeStream(), broken) as line:
        with pytest.raises(ValueError, match="does not fit"):
            await line.take(4, lambda group: None)


async def test_the_overlong_penalty_is_added_to_scored_samples_alone():
    collect = make_collect_group(
        FakeSampler(lambda prompt: ["1", "2", "broken"]),
        FakeScorer(),
        sampling=SamplingParams(max_tokens=4),
        num_samples=3,
        seed=0,
        overlong_cache_tokens=3,
    )
    scored = await collect(FakeStream().draw())
    # Each sample has 2 tokens: 1 over 4 - 3, a third of the penalty.
    assert scored.scores == [pytest.approx(1 - 1 / 3), pytest.approx(-1 / 3), None]
    assert scored.rewards[0].components == {"overlong": pytest.approx(-1 / 3)}
    assert scored.rewards[2].components == {}


def test_a_step_cannot_draw_fewer_than_it_trains_on():
    with pytest.raises(AssertionError, match="a step draws at least the groups it trains on"):
        collector(FakeStream(), FakeCollect(0), groups=4, draws=3)


async def test_more_cannot_be_released_than_was_taken():
    async with collector(FakeStream(), FakeCollect(0)) as line:
        await line.take(4, lambda group: None)
        with pytest.raises(AssertionError, match="released more groups than were taken"):
            line.release(5)


async def test_slots_are_held_until_the_weights_are_published():
    stream = FakeStream()
    async with collector(stream, FakeCollect(0), staleness=1) as line:
        await line.take(4, lambda group: None)
        assert stream.num_drawn == 8, "the next step's groups are made while the learner works"
        line.release(4)
        assert stream.num_drawn == 12
        await line.take(4, lambda group: None)
        assert stream.num_drawn == 12


async def test_a_dropped_group_is_replaced_before_the_step_ends():
    stream = FakeStream()
    async with collector(stream, FakeCollect(0), staleness=1) as line:
        await line.take(4, lambda group: "flat" if group.draw in (1, 2) else None)
        assert stream.rejected == [1, 2]
        assert stream.num_drawn == 10, "two in place of those that were dropped"


async def test_groups_that_failed_are_named_when_nothing_is_left():
    async with collector(FakeStream(), FakeCollect(0, unscored_rate=1.0), draws=6) as line:
        with pytest.raises(RuntimeError, match=r"too_few_scored 6 times.*reward fails \(for example: error: no judge"):
            await line.take(4, build_group_filter([]))


async def test_an_error_leaves_no_task_behind():
    before = tasks_but_watchers()

    async def broken(draw: Draw) -> ScoredGroup:
        await asyncio.sleep(0 if draw.index == 0 else 3600)
        raise ValueError(f"prompt {draw.prompt.id}: does not fit")

    with pytest.raises(ValueError, match="prompt p0: does not fit"):
        async with collector(FakeStream(), broken, staleness=4) as line:
            await line.take(4, lambda group: None)
    assert tasks_but_watchers() == before


async def test_a_draw_s_seed_and_its_requests_are_its_own():
    sampler = FakeSampler(lambda prompt: ["1", "2"])
    collect = make_collect_group(sampler, FakeScorer(), sampling=SamplingParams(), num_samples=2, seed=3)
    stream = FakeStream()
    first, second = await collect(stream.draw()), await collect(stream.draw())
    assert (first.draw, second.draw, first.scores) == (0, 1, [1.0, 0.0])
    assert sampler.seeds == [("p0", derive_seed(3, "sample", 0)), ("p1", derive_seed(3, "sample", 1))]
    requests = reward_requests(first.group, "0", extract="lenient")
    assert [(r.id, r.response, r.params) for r in requests] == [
        ("0/0", "1", {"extract": "lenient", "think_block": "none"}),
        ("0/1", "2", {"extract": "lenient", "think_block": "none"}),
    ]


@pytest.mark.parametrize(("length", "penalty"), [(6, 0.0), (7, -0.25), (9, -0.75), (10, -1.0), (11, -1.0)])
def test_the_soft_overlong_penalty_by_hand(length, penalty):
    assert soft_overlong(length, max_tokens=10, cache_tokens=4) == pytest.approx(penalty)


@pytest.mark.parametrize("staleness", [0, 1, 4])
async def test_the_bound_is_reached_when_nothing_is_dropped(staleness):
    simulation, seen = FakeCollect(0), []
    async with collector(FakeStream(), simulation, staleness=staleness) as line:
        for _ in range(10):
            groups, _ = await line.take(4, lambda group: None)
            seen += [simulation.version - group.group.samples[0].policy_version for group in groups]
            simulation.version += 1
            line.release(4)
    assert max(seen) == staleness


async def test_a_group_may_be_passed_over_until_its_last_step():
    """Staleness 1, two groups a step: of the four of version 0, all that are left are taken at step 2."""
    gate, stream = GatedCollect(), FakeStream()
    async with collector(stream, gate, staleness=1, groups=2, look_ahead=8) as line:
        gate.open(2, 3, 4, 5)
        groups, _ = await line.take(2, lambda group: None)
        assert [group.draw for group in groups] == [2, 3], "0 and 1 have a step more"
        line.release(2)
        second = asyncio.create_task(line.take(2, lambda group: None))
        await asyncio.sleep(0.01)
        assert not second.done(), "4 and 5 are there, but 0 and 1 must be learned now"
        gate.open(1)
        await asyncio.sleep(0.01)
        assert not second.done()
        gate.open(0)
        groups, _ = await second
        assert [group.draw for group in groups] == [0, 1], "in the order of their draws"


async def test_no_more_are_passed_over_than_look_ahead_says():
    gate = GatedCollect()
    async with collector(FakeStream(), gate, staleness=1, groups=2, look_ahead=1) as line:
        gate.open(2, 3)
        first = asyncio.create_task(line.take(2, lambda group: None))
        await asyncio.sleep(0.01)
        assert not first.done(), "2 is the third in line"
        gate.open(1)
        groups, _ = await first
        assert [group.draw for group in groups] == [1, 2], "with 1 gone, 2 is the second"


async def test_looking_ahead_without_staleness_changes_no_step():
    """Rejected groups are found earlier; which groups a step learns from, and what it draws, stays the same."""
    steps = {}
    for look_ahead in (0, 100):
        stream = FakeStream()
        async with collector(stream, FakeCollect(0), look_ahead=look_ahead, draws=40) as line:
            taken = []
            for _ in range(8):
                groups, _ = await line.take(4, lambda group: "a third" if group.draw % 3 == 0 else None)
                taken.append([group.draw for group in groups])
                line.release(4)
        steps[look_ahead] = taken, stream.num_drawn, sorted(stream.rejected)
    assert steps[0] == steps[100]
