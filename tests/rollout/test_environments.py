"""Episodes: token-exact turns and observations, limits, and environments that break down."""

import asyncio
import threading
import time

import pytest

from rollout.chat import Chat
from rollout.environments import time_limit
from rollout.environments.episode import turn_seed
from rollout.environments.registry import Step
from rollout.types import EnvironmentConfig, Prompt, SamplingParams
from tests.fakes import FakeEnvironment, FakePolicy, open_environment_sampler
from tests.real_parts import tasks_but_watchers

QUESTION = ({"role": "user", "content": "Go."},)
PARAMS = SamplingParams(max_tokens=400)
GAP = "<|im_end|>\n<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def chat(tiny_model):
    return Chat(tiny_model)


def prompt(**environment) -> Prompt:
    config = EnvironmentConfig(name="fake", **environment)
    return Prompt(id="p", messages=QUESTION, task="agent_env", reference={}, environment=config)


def tool(content: str, **fields) -> dict:
    return {"role": "tool", "content": content, **fields}


def counting(text: str, seed: int = 0) -> str:
    """The policy of most tests: it counts its turns, and ends with the fourth."""
    turn = text.count("assistant\n")
    return "the end" if turn == 4 else f"turn {turn}"


def echo(text: str) -> Step:
    return Step(is_done=True) if text == "the end" else Step(messages=[tool(f"heard {text}", state=len(text))])


async def episodes(chat, answer=echo, say=counting, *, num_samples=1, params=PARAMS, context=4096, seed=7, **config):
    """The group, what the policy was asked, and the ends of environments."""
    policy, closed = FakePolicy(chat, say), []
    sampler = open_environment_sampler(policy, lambda prompt, seed: FakeEnvironment(answer, closed), context=context)
    async with sampler:
        group = await asyncio.wait_for(
            sampler.sample(prompt(**config), params=params, num_samples=num_samples, seed=seed), 30
        )
    return group, policy.served, closed


async def test_turns_and_observations_are_token_exact(chat):
    group, served, closed = await episodes(chat)
    (sample,) = group.samples
    gaps = [GAP.format(f"heard turn {n}") for n in (1, 2, 3)]
    assert sample.text == f"turn 1{gaps[0]}turn 2{gaps[1]}turn 3{gaps[2]}the end"
    assert chat.tokenizer.decode(sample.token_ids) == sample.text + "<|im_end|>"
    assert "".join(chat.tokenizer.decode(t) for t, s in zip(sample.token_ids, sample.sampled, strict=True) if s) == (
        "turn 1<|im_end|>turn 2<|im_end|>turn 3<|im_end|>the end<|im_end|>"
    )
    assert all(p == (-0.25 if s else 0.0) for p, s in zip(sample.logprobs, sample.sampled, strict=True))
    whole = group.prompt_token_ids + sample.token_ids
    assert served[0] == group.prompt_token_ids
    assert all(whole[: len(tokens)] == tokens for tokens in served), "each turn goes on from the very tokens before"
    assert sample.episode.messages == (
        {"role": "assistant", "content": "turn 1"}, tool("heard turn 1", state=6),
        {"role": "assistant", "content": "turn 2"}, tool("heard turn 2", state=6),
        {"role": "assistant", "content": "turn 3"}, tool("heard turn 3", state=6),
        {"role": "assistant", "content": "the end"},
    )  # fmt: skip
    assert (sample.finish_reason, sample.episode.failure, closed) == ("stop", None, ["closed"])


async def test_a_prompt_without_environment_goes_straight_to_the_engine(chat):
    policy = FakePolicy(chat, lambda text, seed: f"seed {seed}")
    plain = Prompt(id="p", messages=QUESTION, task="math", reference="1")
    async with open_environment_sampler(policy, lambda prompt, seed: pytest.fail("made an environment")) as sampler:
        group = await sampler.sample(plain, params=PARAMS, num_samples=2, seed=7)
    assert [(s.text, s.episode, s.finish_reason) for s in group.samples] == [
        ("seed 7", None, "stop"),
        ("seed 8", None, "stop"),
    ]


@pytest.mark.parametrize(
    ("config", "params", "num_turns", "num_sampled"),
    [
        ({"max_turns": 2}, PARAMS, 2, 14),
        ({}, SamplingParams(max_tokens=17), 3, 17),  # 7 + 7 + 3: the third turn is cut off
        ({}, SamplingParams(max_tokens=14), 2, 14),  # nothing is left for a third
        ({"max_total_tokens": 94}, SamplingParams(max_tokens=60), 1, 7),  # 22 + 7 + 65: the observation fills it
        ({"max_total_tokens": 95}, SamplingParams(max_tokens=60), 2, 8),
    ],
)
async def test_a_limit_ends_the_sample_after_what_the_policy_said(chat, config, params, num_turns, num_sampled):
    group, _, closed = await episodes(chat, params=params, **config)
    (sample,) = group.samples
    assert sample.finish_reason == "length"
    assert (len(sample.episode.turns), sample.num_sampled) == (num_turns, num_sampled)
    assert sample.sampled[-1], "nothing stands at the end that the policy has not said"
    assert len(group.prompt_token_ids + sample.token_ids) <= config.get("max_total_tokens", 4096)
    assert closed == ["closed"]


async def test_a_turn_beyond_its_own_limit_is_closed_and_answered(chat):
    group, _, _ = await episodes(chat, max_turn_tokens=4, max_turns=2)
    (sample,) = group.samples
    assert sample.text == f"turn{GAP.format('heard turn')}turn"
    at = sample.sampled.index(False)
    assert sample.token_ids[at] == chat.tokenizer.convert_tokens_to_ids("<|im_end|>"), "we closed it, so it is ours"
    assert (sample.num_sampled, sample.finish_reason) == (8, "length")


async def test_the_last_turn_cut_off_is_no_stop(chat):
    group, _, _ = await episodes(chat, lambda text: Step(is_done=True), max_turn_tokens=4)
    assert group.samples[0].finish_reason == "length"


async def test_what_an_environment_says_at_the_end_is_for_the_reward_alone(chat):
    group, served, _ = await episodes(chat, lambda text: Step(messages=[tool("bye", state=1)], is_done=True))
    (sample,) = group.samples
    assert all(sample.sampled)
    assert len(served) == 1
    assert sample.episode.messages[-1] == tool("bye", state=1, done=True)


async def test_long_observations_are_cut_with_a_mark(chat):
    group, _, _ = await episodes(chat, lambda text: Step(messages=[tool("x" * 10**6)]), max_turns=2,
                                 max_observation_tokens=10)  # fmt: skip
    assert group.samples[0].episode.messages[1]["content"] == "x" * 10 + "\n[cut off here]"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda text: 1 / 0, "a step crashed: ZeroDivisionError: division by zero"),
        (lambda text: exit(), "a step crashed: RuntimeError: SystemExit"),
        (lambda text: "hello", "a step answered with str, not with a Step"),
        (lambda text: Step(), "a step answered nothing, and did not end the episode"),
        (lambda text: Step(messages=[tool("x", state={1, 2})]), "no JSON"),
        (lambda text: Step(messages=[tool("x", reward=float("nan"))]), "no JSON"),
        (lambda text: Step(messages=[{"role": "assistant", "content": "x"}]), "a role of tool, user"),
        (lambda text: time.sleep(30), "a step took more than 0.2 s"),
        (lambda text: asyncio.sleep(30), "a step took more than 0.2 s"),
    ],
)
async def test_an_environment_that_breaks_down_ends_its_sample_alone(chat, answer, reason):
    def sometimes(text):
        return answer(text) if text == "odd" else Step(is_done=True)

    group, _, closed = await episodes(
        chat, sometimes, lambda text, seed: "odd" if seed % 2 else "even", num_samples=4, step_timeout_s=0.2
    )
    assert [s.text for s in group.samples] == ["odd", "even", "odd", "even"]
    assert [s.episode.failure is None for s in group.samples] == [False, True, False, True]
    assert reason in group.samples[0].episode.failure
    assert closed == ["closed"] * 4


async def test_an_environment_that_does_not_start_has_failed(chat):
    policy = FakePolicy(chat, counting)
    async with open_environment_sampler(policy, lambda prompt, seed: 1 / 0) as sampler:
        group = await sampler.sample(prompt(), params=PARAMS, num_samples=1, seed=0)
    (sample,) = group.samples
    assert sample.text == "turn 1"
    assert sample.episode.failure == "its start crashed: ZeroDivisionError: division by zero"


async def test_an_end_that_fails_does_not_fail_the_sample(chat):
    environment = FakeEnvironment(echo, [])
    environment.close = lambda: 1 / 0
    async with open_environment_sampler(FakePolicy(chat, counting), lambda prompt, seed: environment) as sampler:
        group = await sampler.sample(prompt(), params=PARAMS, num_samples=1, seed=0)
    assert group.samples[0].episode.failure is None


async def test_steps_that_block_run_side_by_side(chat):
    barrier = threading.Barrier(8)

    def wait(text):
        barrier.wait(20)  # broken, and a failure, unless all eight are in it at once
        return echo(text)

    group, _, _ = await episodes(chat, wait, num_samples=8)
    assert [s.episode.failure for s in group.samples] == [None] * 8


async def test_hung_steps_take_no_places(monkeypatch, chat):
    monkeypatch.setattr(time_limit, "MAX_CALLS_AT_ONCE", 2)
    never = threading.Event()

    def hang(text):
        return never.wait(60) if text == "odd" else echo("the end")

    group, _, _ = await episodes(
        chat, hang, lambda text, seed: "odd" if seed < 12 else "even", num_samples=10, step_timeout_s=0.2
    )
    never.set()
    assert [s.episode.failure is None for s in group.samples] == [False] * 5 + [True] * 5


async def test_async_environments_need_no_thread(chat):
    names = []

    async def step(text):
        names.append(threading.current_thread().name)
        return echo(text)

    environment = FakeEnvironment(echo, [])
    environment.step = step
    async with open_environment_sampler(FakePolicy(chat, counting), lambda prompt, seed: environment) as sampler:
        group = await sampler.sample(prompt(), params=PARAMS, num_samples=1, seed=0)
    assert group.samples[0].finish_reason == "stop"
    assert set(names) == {threading.current_thread().name}


async def test_a_sample_does_not_depend_on_the_others_time(chat):
    def say(text, seed):
        return "the end" if text.count("assistant\n") == 4 else f"seed {seed}"

    def slowly(text):
        time.sleep(hash(text) % 5 / 200)
        return echo(text)

    first, _, _ = await episodes(chat, slowly, say, num_samples=6)
    again, _, _ = await episodes(chat, slowly, say, num_samples=6)
    assert first == again
    assert len({sample.text for sample in first.samples}) == 6
    assert first.samples[2].episode.turns[:3] == ["seed 9", f"seed {turn_seed(7, 2, 2)}", f"seed {turn_seed(7, 2, 3)}"]


def test_seeds_of_turns_are_the_same_on_every_machine():
    assert turn_seed(7, 2, 2) == 1355739807633427037
    assert len({turn_seed(seed, n, turn) for seed in range(5) for n in range(5) for turn in range(5)}) == 125


async def test_the_version_is_the_oldest_turn_s(chat):
    policy = FakePolicy(chat, counting, versions=[5, 3, 6, 6])
    async with open_environment_sampler(policy, lambda prompt, seed: FakeEnvironment(echo, [])) as sampler:
        group = await sampler.sample(prompt(), params=PARAMS, num_samples=1, seed=0)
    assert group.samples[0].policy_version == 3


async def test_states_are_snapshots(chat):
    state = {"count": 0}

    def step(text):
        state["count"] += 1
        return Step(is_done=True) if text == "the end" else Step(messages=[tool("ok", state=state)])

    group, _, _ = await episodes(chat, step)
    assert [m["state"] for m in group.samples[0].episode.observations] == [{"count": 1}, {"count": 2}, {"count": 3}]


async def test_a_prompt_without_room_is_named(chat):
    with pytest.raises(ValueError, match=r"prompt p: \d+ prompt tokens leave no room for .*max_total_tokens = 4"):
        await episodes(chat, max_total_tokens=4)


async def test_cancelled_episodes_leave_no_task_behind(chat):
    before, closed = tasks_but_watchers(), []
    never = threading.Event()
    policy = FakePolicy(chat, counting)
    make = lambda prompt, seed: FakeEnvironment(lambda text: never.wait(60), closed)  # noqa: E731
    async with open_environment_sampler(policy, make) as sampler:
        task = asyncio.create_task(sampler.sample(prompt(), params=PARAMS, num_samples=3, seed=0))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    never.set()
    assert tasks_but_watchers() == before
    assert closed == ["closed"] * 3
