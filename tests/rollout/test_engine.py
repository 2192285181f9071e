"""The real engine: what it samples is what the model says, token for token."""

import asyncio

import pytest
import torch
from psutil import Process
from transformers import AutoModelForCausalLM

from rl.cluster import open_sampler
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.models import resolve_model, stop_token_ids
from rl.weight_sync import publish_weights
from rollout.engine import Completion, Engine
from rollout.types import Prompt, SamplingParams
from tests.real_parts import ENGINE, LEARNER
from tests.rl.examples import batch_of

PARAMS = SamplingParams(max_tokens=24)


def prompt(text: str) -> Prompt:
    return Prompt(id=text, messages=({"role": "user", "content": text},), task="math", reference="1")


def plain_logprobs(model, group, temperature: float = 1.0) -> list[torch.Tensor]:
    """Log-probs of each response by transformers alone, one sequence at a time, full logits."""
    answers = []
    for sample in group.samples:
        ids = torch.tensor([group.prompt_token_ids + sample.token_ids])
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits[0].float() / temperature
        start = len(group.prompt_token_ids)
        rows = logits[start - 1 : -1].log_softmax(-1)
        answers.append(rows.gather(-1, ids[0, start:, None]).squeeze(-1))
    return answers


def assert_logprobs_agree(model, group, temperature: float = 1.0, tolerance: float = 1e-4) -> None:
    for sample, expected in zip(group.samples, plain_logprobs(model, group, temperature), strict=True):
        torch.testing.assert_close(torch.tensor(sample.logprobs), expected, atol=tolerance, rtol=0)


async def test_logprobs_are_those_of_the_sampled_distribution(sampler, tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for temperature in (1.0, 0.7):
        params = SamplingParams(max_tokens=24, temperature=temperature)
        group = await sampler.sample(prompt("What is 2 + 2?"), params=params, num_samples=4, seed=7)
        assert len({sample.token_ids for sample in group.samples}) == 4
        assert_logprobs_agree(model, group, temperature)


async def test_settings_of_evaluations_reach_the_sampler(sampler):
    async def tokens(**settings):
        params = SamplingParams(max_tokens=48, **settings)
        group = await sampler.sample(prompt("hello"), params=params, num_samples=1, seed=5)
        return group.samples[0].token_ids

    greedy = await tokens(temperature=0)
    assert await tokens(min_p=1.0) == await tokens(top_k=1) == greedy, "only the likeliest token is left"
    assert await tokens() != greedy
    novel = await tokens(temperature=0, presence_penalty=2.0)
    assert len(set(novel)) > len(set(greedy)), "what was said is said less often"


async def test_scores_are_the_logprobs_of_given_tokens(sampler, tiny_model):
    """Also where a crowd asks at once, and after another request has cached what they begin with."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    params = SamplingParams(max_tokens=40, temperature=1.5)
    group = await sampler.sample(prompt("What is 2 + 2?" * 4), params=params, num_samples=4, seed=7)
    whole = [group.prompt_token_ids + sample.token_ids for sample in group.samples]
    scores = await asyncio.gather(*(sampler.score(group.prompt, ids) for ids in whole))
    for sample, given, expected in zip(group.samples, scores, plain_logprobs(model, group), strict=True):
        torch.testing.assert_close(torch.tensor(given[-len(sample.token_ids) :]), expected, atol=1e-4, rtol=0)
    assert [len(given) for given in scores] == [len(ids) - 1 for ids in whole]


async def test_a_seed_gives_the_same_samples_alone_and_in_a_crowd(sampler):
    alone = await sampler.sample(prompt("hello"), params=PARAMS, num_samples=4, seed=11)
    crowd = await asyncio.gather(
        sampler.sample(prompt("hello"), params=PARAMS, num_samples=4, seed=11),
        *(sampler.sample(prompt(f"noise {n}"), params=PARAMS, num_samples=4, seed=n) for n in range(16)),
    )
    assert crowd[0] == alone
    assert len({group.samples[0].token_ids for group in crowd}) == 17


async def test_both_stop_ids_end_a_response_and_are_kept(sampler, tiny_model):
    stops = stop_token_ids(tiny_model)
    assert len(stops) == 2
    params = SamplingParams(max_tokens=100)
    groups = await asyncio.gather(
        *(sampler.sample(prompt(f"p{n}"), params=params, num_samples=8, seed=n) for n in range(12))
    )
    samples = [sample for group in groups for sample in group.samples]
    stopped = [sample for sample in samples if sample.finish_reason == "stop"]
    assert {sample.token_ids[-1] for sample in stopped} == set(stops)
    assert all(not set(stops) & set(sample.token_ids[:-1]) for sample in stopped)
    truncated = [sample for sample in samples if sample.finish_reason == "length"]
    assert truncated
    assert all(len(s.token_ids) == 100 and not set(stops) & set(s.token_ids) for s in truncated)


async def test_a_prompt_that_does_not_fit_is_refused_with_id_and_length(sampler):
    with pytest.raises(ValueError, match=r"prompt x{300}: 3\d\d prompt tokens and up to 24 response tokens exceed"):
        await sampler.sample(prompt("x" * 300), params=PARAMS, num_samples=1, seed=0)


TWO_WORKERS = {"tensor_parallel_size": 2, "cores": "0|1"}


@pytest.mark.parametrize(
    ("name", "engines", "transfer"),
    [
        ("package:tiny-qwen3", {}, "host"),
        ("package:tiny-qwen3-untied", {}, "host"),
        ("package:tiny-qwen3", {}, "broadcast"),
        pytest.param("package:tiny-qwen3-moe", {}, "host", marks=pytest.mark.slow),
        pytest.param("package:tiny-qwen3-moe-untied", {}, "broadcast", marks=pytest.mark.slow),
        # Tied and large: its head has a packed copy, which a reload does not reach.
        pytest.param("package:smollm2", {}, "host", marks=pytest.mark.slow),
        pytest.param("package:tiny-qwen3", {"num_engines": 2}, "host", marks=pytest.mark.slow),
        pytest.param("package:tiny-qwen3", {"num_engines": 2}, "broadcast", marks=pytest.mark.slow),
        pytest.param("package:tiny-qwen3", TWO_WORKERS, "host", marks=pytest.mark.slow),
        pytest.param("package:tiny-qwen3-untied", TWO_WORKERS, "broadcast", marks=pytest.mark.slow),
    ],
)
async def test_after_an_update_engine_and_learner_agree(ray_cluster, tmp_path, name, engines, transfer):
    folder = resolve_model(name)
    config = ENGINE.model_copy(update={"batch_invariant": False, **engines})  # with its prefix cache
    learner_config = LEARNER.model_copy(update={"weight_transfer": transfer})
    question = prompt("What is 2 + 2? " * 6)  # longer than a block of the cache
    async with (
        open_sampler(folder, config, stop_token_ids(folder), 0) as sampler,
        open_learner(folder, learner_config, LossConfig(), temperature=1.0, seed=0) as learner,
    ):
        before = await sampler.sample(question, params=PARAMS, num_samples=4, seed=3)
        await learner.update(batch_of(num_ranks=1))
        under_way = [
            asyncio.create_task(
                sampler.sample(prompt(f"p{n}"), params=SamplingParams(max_tokens=150), num_samples=4, seed=n)
            )
            for n in range(8)
        ]
        await asyncio.sleep(0.05)
        await publish_weights(learner, sampler, version=1)
        everywhere = await asyncio.gather(
            *(sampler.sample(question, params=PARAMS, num_samples=4, seed=3) for _ in sampler.seats)
        )
        survivors = await asyncio.wait_for(asyncio.gather(*under_way), 120)
        await learner.save(tmp_path)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    untrained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert {s.policy_version for s in before.samples} == {0}
    assert_logprobs_agree(untrained, before)
    for after in everywhere:
        assert {s.policy_version for s in after.samples} == {1}
        # The same prompt once more: had a cache entry of the old weights served it, these would be off.
        assert_logprobs_agree(trained, after)
    gap = (plain_logprobs(untrained, after)[0] - plain_logprobs(trained, after)[0]).abs().max()
    assert gap > 1e-2, "the update must change what is compared"
    assert [len(group.samples) for group in survivors] == [4] * 8
    assert {s.policy_version for group in survivors for s in group.samples} <= {0, 1}


async def test_a_sleeping_engine_gives_its_cache_back_and_says_the_same_afterwards(ray_cluster, tiny_model):
    import ray

    config = ENGINE.model_copy(update={"batch_invariant": False})
    options = {"max_concurrency": 100, "num_cpus": 0}
    engine = ray.remote(Engine).options(**options).remote(tiny_model, config, stop_token_ids(tiny_model), 0, ())

    def used_bytes() -> int:
        return sum(process.memory_info().rss for process in Process(process_id).children(recursive=True))

    async def say() -> tuple[int, list[Completion]]:
        return await engine.generate.remote((1, 2, 3), PARAMS, num_samples=1, seed=5)

    try:
        process_id = await engine.start.remote()
        first, awake = await say(), used_bytes()
        under_way = asyncio.create_task(say())
        await asyncio.sleep(0.01)
        await asyncio.wait_for(engine.sleep.remote(), 30)
        given_back = awake - used_bytes()
        late = asyncio.create_task(say())
        assert await asyncio.wait_for(under_way, 30) == first, "a sleep waits for what is under way"
        await engine.begin_update.remote()
        await engine.end_update.remote(1)
        assert await asyncio.wait_for(late, 30) == (1, first[1])
    finally:
        ray.kill(engine)
    assert given_back > 0.9 * config.kv_cache_gib * 2**30


async def test_a_killed_engine_loses_no_prompt(ray_cluster, tiny_model):
    import ray

    async with open_sampler(tiny_model, ENGINE, stop_token_ids(tiny_model), 0) as sampler:
        params = SamplingParams(max_tokens=150)
        expected = await sampler.sample(prompt("p0"), params=params, num_samples=4, seed=0)
        tasks = [
            asyncio.create_task(sampler.sample(prompt(f"p{n}"), params=params, num_samples=4, seed=n)) for n in range(8)
        ]
        await asyncio.sleep(0.05)
        ray.kill(sampler.seats[0].engine.actor)
        groups = await asyncio.wait_for(asyncio.gather(*tasks), 240)
        assert sampler.num_restarts == 1
    assert [group.prompt.id for group in groups] == [f"p{n}" for n in range(8)]
    assert all(len(group.samples) == 4 for group in groups)
    assert groups[0] == expected
