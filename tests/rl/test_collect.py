import asyncio
import random

import pytest

from rewards.types import RewardResult
from rl.collect import Collector, make_collect_group
from rl.filters import build_group_filter
from rl.prompts import Draw
from rl.types import ScoredGroup
from rollout.types import SamplingParams
from tests.fakes import FakeSampler, FakeScorer, FakeStream, make_group


class Simulation:
    """Groups that take random times, under a version that the learner raises; some are without signal."""

    def __init__(self, seed: int, flat_rate: float = 0.0, unscored_rate: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.version = 0
        self.flat_rate, self.unscored_rate = flat_rate, unscored_rate
        self.under_way = self.most_under_way = 0

    async def collect(self, draw: Draw) -> ScoredGroup:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        version, kind = self.version, self.rng.random()
        for _ in range(self.rng.choice((0, 1, 1, 2, 30))):
            await asyncio.sleep(0)
        self.under_way -= 1
        scores: list[float | None] = [0.0, 1.0]
        if kind < self.flat_rate:
            scores = [1.0, 1.0]
        elif kind < self.flat_rate + self.unscored_rate:
            scores = [None, 1.0]
        group = make_group(["a", "b"], draw.prompt, policy_version=version)
        rewards = tuple(RewardResult(score=s, status="error" if s is None else "ok") for s in scores)
        return ScoredGroup(group=group, rewards=rewards, draw=draw.index)


def collector(stream, collect, *, staleness=0, groups=4, draws=16, timeout_s=5.0) -> Collector:
    return Collector(
        stream, collect, groups_per_step=groups, max_staleness=staleness, max_draws_per_step=draws, timeout_s=timeout_s
    )


@pytest.mark.parametrize("draws", [4, 6, 40])
@pytest.mark.parametrize("staleness", [0, 1, 4])
@pytest.mark.parametrize("seed", range(8))
async def test_the_bound_on_staleness_holds(seed, staleness, draws):
    simulation = Simulation(seed, flat_rate=0.4, unscored_rate=0.1)
    stream, keep, seen = FakeStream(), build_group_filter(["zero_variance"]), []
    async with collector(stream, simulation.collect, staleness=staleness, draws=draws) as line:
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
    assert staleness == 0 or max(seen) > 0, "the asynchronous case must have been stale at times"


async def test_groups_come_in_the_order_of_their_draws():
    simulation, stream = Simulation(0), FakeStream()
    async with collector(stream, simulation.collect, staleness=2) as line:
        order = []
        for _ in range(6):
            groups, _ = await line.take(4, lambda group: None)
            order += [group.draw for group in groups]
            line.release(4)
    assert order == list(range(24))


async def test_in_synchronous_mode_nothing_is_drawn_ahead():
    simulation, stream = Simulation(0), FakeStream()
    async with collector(stream, simulation.collect) as line:
        await line.take(4, lambda group: None)
        await asyncio.sleep(0.01)
        assert stream.num_drawn == 4
        line.release(4)
        assert stream.num_drawn == 8


async def test_a_rejected_group_frees_its_slot_and_is_recorded():
    simulation, stream = Simulation(0), FakeStream()
    async with collector(stream, simulation.collect) as line:
        groups, metrics = await line.take(4, lambda group: "odd" if group.draw % 2 else None)
        assert [group.draw for group in groups] == [0, 2, 4, 6]
        assert stream.rejected == [1, 3, 5]
        assert metrics["group/rejected"] == metrics["group/rejected/odd"] == 3


async def test_after_the_last_draw_a_step_trains_on_what_it_has():
    simulation, stream = Simulation(0), FakeStream()
    async with collector(stream, simulation.collect, draws=6) as line:
        groups, metrics = await line.take(4, lambda group: None if group.draw == 2 else "flat")
    assert [group.draw for group in groups] == [2]
    assert metrics["group/rejected"] == 5


async def test_with_nothing_at_all_the_run_stops_and_says_why():
    simulation, stream = Simulation(0), FakeStream()
    async with collector(stream, simulation.collect, draws=6) as line:
        with pytest.raises(RuntimeError, match=r"after 6 draws \(too easy 6 times\)"):
            await line.take(4, lambda group: "too easy")


async def test_a_group_that_never_comes_is_named():
    async def never(draw: Draw) -> ScoredGroup:
        await asyncio.sleep(3600)
        raise AssertionError

    async with collector(FakeStream(), never, timeout_s=0.05) as line:
        with pytest.raises(TimeoutError, match=r"prompt p0 \(draw 0\) had no scored group"):
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
