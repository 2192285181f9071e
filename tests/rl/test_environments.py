"""Environments in training: prompts, rewards, metrics, and a learner that agrees with the engine on later turns."""

import random
from pathlib import Path

import pytest

from rewards.registry import load_tasks
from rl.batch import PackingConfig, make_examples, pack
from rl.environments import find_environment
from rl.episode_metrics import MAX_TOOLS, episode_metrics
from rl.judgement import judge, make_collect_group, reward_requests
from rl.metrics import ErrorRateGuard, group_metrics
from rl.prompts import Draw
from rl.sources import Source, SourceConfig, to_prompt
from rl.tool_tasks import bookkeeping
from rl.types import ScoredGroup
from rl.weight_sync import publish_weights
from rollout.chat import Chat
from rollout.environments.registry import Step
from rollout.types import EnvironmentConfig, Episode, Group, Prompt, Sample, SamplingParams, prompt_id
from tests.fakes import FakeEnvironment, FakePolicy, FakeScorer, make_scored, open_environment_sampler

ROW = {"question": "Go.", "reference": {"state": 1}, "task": "agent_env"}
LEDGER = {"name": "ledger", "options": {"accounts": {"ann": 1}}}


def make_episode_sample(turns=("a", "b"), failure=None, error=False) -> Sample:
    messages = [{"role": "assistant", "content": turns[0]}]
    for text in turns[1:]:
        messages += [
            {"role": "tool", "content": "ok"} | ({"error": True} if error else {}),
            {"role": "assistant", "content": text},
        ]
    return Sample(
        token_ids=(5, 6, 7, 8),
        logprobs=(-0.5, 0.0, 0.0, -0.5),
        sampled=(True, False, False, True),
        text="all",
        finish_reason="stop",
        policy_version=0,
        episode=Episode(messages=tuple(messages), failure=failure),
    )


def source(**fields) -> SourceConfig:
    return SourceConfig(path="rows.jsonl", **fields)


def group_of(*samples: Sample, judged="interaction") -> Group:
    environment = EnvironmentConfig(name="ledger", judged=judged)
    prompt = Prompt(
        id="p", messages=({"role": "user", "content": "?"},), task="t", reference="b", environment=environment
    )
    return Group(prompt=prompt, prompt_token_ids=(1,), think_block="none", samples=samples)


def test_ids_of_prompts_without_environment_are_what_they_were():
    messages = ({"role": "user", "content": "What is 1 + 2?"},)
    assert prompt_id(messages, "math", "3") == to_prompt(
        {"question": "What is 1 + 2?", "reference": "3", "task": "math"}, source(), "row 0"
    ).id == "1d7409eceee1e8b0"  # fmt: skip


def test_an_environment_is_part_of_an_id_and_its_limits_are_not():
    ids = [
        to_prompt(ROW | {"environment": environment}, source(), "row 0").id
        for environment in (None, LEDGER, LEDGER | {"max_turns": 3}, LEDGER | {"options": {"accounts": {"ann": 2}}})
    ]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3


def test_a_config_stands_over_a_row():
    row = ROW | {"environment": LEDGER | {"max_turns": 3, "step_timeout_s": 5, "judged": None}}
    config = EnvironmentConfig(name="ledger", max_turns=2)
    found = to_prompt(row, source(environment=config), "row 0").environment
    assert found == EnvironmentConfig(name="ledger", options={"accounts": {"ann": 1}}, max_turns=2, step_timeout_s=5)
    assert to_prompt(ROW, source(environment=config), "row 0").environment == config
    assert to_prompt(ROW, source(), "row 0").environment is None


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ("ledger", "environment must be a mapping"),
        ({"name": "legder"}, "unknown 'legder'; known are calculator, ledger"),
        ({"name": "os:system"}, "unknown 'os:system'"),
        ({"name": "ledger"}, "options of environment ledger: missing a required argument: 'accounts'"),
        ({"name": "calculator", "max_turns": 0}, "environment: max_turns"),
        ({"name": "calculator", "turns": 1}, "environment: turns"),
        ({}, "environment: name: Field required"),
    ],
)
def test_a_row_s_environment_that_cannot_be_used_is_named(environment, reason):
    with pytest.raises(ValueError, match=f"prompts: row 3: .*{reason}"):
        to_prompt(ROW | {"environment": environment}, source(), "row 3")


def test_a_config_s_unknown_environment_is_named():
    with pytest.raises(ValueError, match="unknown environment 'legder': known are calculator, ledger"):
        source(environment={"name": "legder"})
    assert source(environment={"name": "my.games:chess"}).environment.name == "my.games:chess"


def test_rewards_are_given_the_interaction_or_its_last_turn():
    (request,) = reward_requests(group_of(make_episode_sample()), "0")
    assert request.response == [
        {"role": "assistant", "content": "a"},
        {"role": "tool", "content": "ok"},
        {"role": "assistant", "content": "b"},
    ]
    (request,) = reward_requests(group_of(make_episode_sample(), judged="answer"), "0")
    assert request.response == "b"


async def test_a_failed_environment_is_no_score():
    broken = make_episode_sample(failure="a step crashed: KeyError: 'x'")
    group = group_of(make_episode_sample(), broken, make_episode_sample(("a", "c")), judged="answer")
    results = await judge(FakeScorer(), group, "7")
    assert [result.score for result in results] == [1.0, None, 0.0]
    assert (results[1].id, results[1].status) == ("7/1", "error")
    assert results[1].reason == "environment: a step crashed: KeyError: 'x'"
    (alone,) = await judge(FakeScorer(), group_of(broken), "7")
    assert alone.score is None

    scored = ScoredGroup(group=group, rewards=tuple(results), draw=0)
    assert len(make_examples([scored], [[1.0, 0.0, -1.0]])) == 2, "it is in no count either"
    guard = ErrorRateGuard(0.5)
    guard.watch(lambda group: "dropped")(scored)
    assert guard.check() == {"reward/error_rate": 1 / 3, "environment/failure_rate": 1 / 3}


def test_metrics_of_episodes_by_hand():
    group = group_of(make_episode_sample(("a", "b", "c"), error=True), make_episode_sample())
    scored = make_scored([1.0, 0.0])
    metrics = group_metrics([ScoredGroup(group=group, rewards=scored.rewards, draw=0)], step=1)
    assert metrics["rollout/turns_mean"] == 2.5
    assert metrics["rollout/tool_errors_rate"] == pytest.approx(2 / 3)
    assert metrics["rollout/response_length"] == 2, "observations count in no length"
    assert "rollout/turns_mean" not in group_metrics([scored], step=1)


def test_a_tool_counts_once_a_sample_and_only_where_it_answered():
    def episode(*observations):
        return Episode(messages=tuple({"role": "tool", "content": "ok"} | fields for fields in observations))

    called, other, mistaken = {"tool": "add"}, {"tool": "end"}, {"error": True}
    episodes = [episode(called, called, other), episode(mistaken), episode(mistaken, other), episode(other)]
    metrics = episode_metrics("eval/s", episodes)
    assert {name: value for name, value in metrics.items() if "/tool/" in name} == {
        "eval/s/tool/add/rate": 0.25,
        "eval/s/tool/end/rate": 0.75,
    }
    many = [episode(*({"tool": str(n)} for n in range(MAX_TOOLS + 9)))]
    assert sum("/tool/" in name for name in episode_metrics("eval/s", many)) == MAX_TOOLS


def test_only_sampled_tokens_of_an_episode_are_trained():
    group = group_of(make_episode_sample(), make_episode_sample())
    scored = ScoredGroup(group=group, rewards=make_scored([1.0, 0.0]).rewards, draw=0)
    batch = pack(make_examples([scored], [[1.0, -1.0]]), PackingConfig(share_prefix=False), num_ranks=1)
    (update,) = batch.updates
    ((micro,),) = update.micro_batches
    assert update.counts.num_tokens == 4
    assert micro.target_N.tolist() == [5, 8, 5, 8]
    assert micro.source_N.tolist() == [0, 3, 5, 8], "the last turn's token is predicted by the observation's last"
    assert micro.sampler_logprobs_N.tolist() == [-0.5] * 4


async def test_the_learner_agrees_with_the_engine_on_every_turn(sampler, learner, monkeypatch):
    await publish_weights(learner, sampler, version=1)
    monkeypatch.setattr(
        sampler,
        "find_environment",
        lambda name: (
            lambda prompt, seed: FakeEnvironment(
                lambda text: Step(messages=[{"role": "tool", "content": f"heard {len(text)}"}]), []
            )
        ),
    )
    environment = EnvironmentConfig(name="echo", max_turns=3, max_turn_tokens=12)
    messages = ({"role": "user", "content": "Go."},)
    prompt = Prompt(id="p", messages=messages, task="agent_env", reference={}, environment=environment)
    params = SamplingParams(max_tokens=100)
    group = await sampler.sample(prompt, params=params, num_samples=4, seed=1)
    assert group == await sampler.sample(prompt, params=params, num_samples=4, seed=1)
    assert [len(sample.episode.turns) for sample in group.samples] == [3] * 4
    num_sampled = sum(sample.num_sampled for sample in group.samples)
    assert num_sampled > 3 * 4 * 6
    scored = ScoredGroup(group=group, rewards=make_scored([1.0, 0.0, 1.0, 0.0]).rewards, draw=0)
    for share in (True, False):
        batch = pack(make_examples([scored], [[1.0, -1.0, 1.0, -1.0]]), PackingConfig(share_prefix=share), num_ranks=1)
        assert batch.packing["pack/trained_tokens"] == num_sampled
    # Before the update: the k3 of the very tokens that were sampled, turns two and three among them.
    metrics = await learner.update(batch)
    assert metrics["loss/mismatch_kl"] < 1e-8
    assert metrics["policy/entropy"] > 0


async def test_a_draw_with_an_environment_is_collected_and_scored(sampler):
    row = bookkeeping(random.Random(3), describe=False)
    prompt = to_prompt(row, source(environment={"name": "ledger", "max_turns": 2, "max_turn_tokens": 8}), "row 0")
    collect = make_collect_group(sampler, TaskScorer(), sampling=SamplingParams(max_tokens=32), num_samples=2, seed=0)
    scored = await collect(Draw(0, prompt))
    assert scored.scores == [0.0, 0.0], "a random model reaches no goal, which is a wrong answer and no failure"
    assert [len(sample.episode.turns) for sample in scored.group.samples] == [2, 2]
    assert all(message["error"] for sample in scored.group.samples for message in sample.episode.observations)


async def test_the_environment_of_the_docs_works(tmp_path, monkeypatch, tiny_model):
    page = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
    code, line = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "json"))
    (tmp_path / "guessing.py").write_text(code)
    (tmp_path / "guessing.jsonl").write_text(line)
    monkeypatch.chdir(tmp_path)
    config = EnvironmentConfig(name="guessing.py:guessing", max_turns=5)
    prompt = Source(SourceConfig(path="guessing.jsonl", environment=config), seed=0).prompt(0)
    guesses = iter(["5", "<think>8?</think>8", "nine", "7"])
    policy = FakePolicy(Chat(tiny_model), lambda text, seed: next(guesses))
    async with open_environment_sampler(policy, find_environment(prompt.environment.name)) as sampler:
        group = await sampler.sample(prompt, params=SamplingParams(max_tokens=99), num_samples=1, seed=0)
    said = [message["content"] for message in group.samples[0].episode.observations]
    assert said == ["Higher.", "Lower.", "Say a number.", "Right."]
    (result,) = await judge(TaskScorer(), group, "0")
    assert result.score == 1


class TaskScorer:
    """The task's own function, in this process."""

    async def score(self, requests):
        return [load_tasks()[request.task].function(request) for request in requests]
