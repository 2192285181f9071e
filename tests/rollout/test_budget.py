"""The thinking budget: what is forced and when, by hand and on the real engine."""

import asyncio
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.types import RewardResult
from rl.batch import PackingConfig, make_examples, pack
from rl.cluster import open_sampler
from rl.learner_group import open_learner
from rl.losses import LossConfig
from rl.metrics import group_metrics
from rl.models import resolve_model, stop_token_ids
from rl.types import ScoredGroup
from rollout.budget import STOP_TEXT, ThinkingBudget, make_budget
from rollout.chat import Chat
from rollout.types import Prompt, SamplingParams
from tests.fakes import FakeEngine, open_fake_sampler
from tests.real_parts import ENGINE, LEARNER
from tests.rollout.test_engine import plain_logprobs

OPEN, CLOSE, WORD, OTHER, STOP = 1, 2, 3, 4, (7, 8, 2, 9)


def budget(num_tokens=3, **fields) -> ThinkingBudget:
    wanted = {"is_open": False, "open_id": OPEN, "close_id": CLOSE, "stop_ids": STOP} | fields
    return ThinkingBudget(num_tokens=num_tokens, **wanted)


def generate(limit: ThinkingBudget, natural: list[int], length: int) -> tuple[int, ...]:
    """What an engine makes of a model that would say `natural`, and then OTHER for ever."""
    ids: list[int] = []
    said = iter(natural)
    while len(ids) < length:
        forced = limit.forced_token(ids)
        ids.append(next(said, OTHER) if forced is None else forced)
    return tuple(ids)


@pytest.mark.parametrize(
    ("limit", "natural", "expected", "own"),
    [
        (budget(), [OPEN], (OPEN, OTHER, OTHER, OTHER, *STOP, OTHER, OTHER), "1111000011"),
        (budget(is_open=True), [], (OTHER, OTHER, OTHER, *STOP, OTHER, OTHER, OTHER), "1110000111"),
        (budget(1), [OPEN], (OPEN, OTHER, *STOP, OTHER, OTHER, OTHER, OTHER), "1100001111"),
        # The model closes its block with the last token that it has, or earlier: nothing is forced, ever.
        (budget(), [OPEN, WORD, WORD, CLOSE], (OPEN, WORD, WORD, CLOSE, *[OTHER] * 6), "1" * 10),
        (budget(), [OPEN, CLOSE], (OPEN, CLOSE, *[OTHER] * 8), "1" * 10),
        (budget(is_open=True), [WORD, WORD, CLOSE], (WORD, WORD, CLOSE, *[OTHER] * 7), "1" * 10),
        # One token later it is too late.
        (budget(is_open=True), [WORD, WORD, WORD, CLOSE], (WORD, WORD, WORD, *STOP, CLOSE, OTHER, OTHER), "1110000111"),
        # The model's own words may be the sentence: sampled all the same.
        (budget(), [OPEN, 7, 8, CLOSE, 9], (OPEN, 7, 8, CLOSE, 9, *[OTHER] * 5), "1" * 10),
        (budget(), [WORD], (WORD, *[OTHER] * 9), "1" * 10),
        (budget(), [WORD, OPEN], (WORD, OPEN, *[OTHER] * 8), "1" * 10),
        (budget(8), [OPEN], (OPEN, *[OTHER] * 8, 7), "1111111110"),
        (budget(9), [OPEN], (OPEN, *[OTHER] * 9), "1" * 10),
    ],
)
def test_thinking_is_cut_at_the_budget_and_nowhere_else(limit, natural, expected, own):
    ids = generate(limit, natural, 10)
    assert ids == expected
    assert limit.sampled(ids) == tuple(bit == "1" for bit in own)
    assert ThinkingBudget.read(limit.write()) == limit


def test_a_response_that_ends_early_is_all_sampled():
    for ids in ((OPEN,), (OPEN, WORD), (OPEN, WORD, WORD, WORD)):
        assert budget().sampled(ids) == (True,) * len(ids)


@pytest.mark.parametrize(
    ("natural", "prompt"),
    [
        ([OPEN, WORD, CLOSE], [5]),  # a block that was closed in time: its answer is cut
        ([], [5, OPEN, WORD, CLOSE, 5]),  # an example in the prompt is taken for this response's thinking
    ],
)
def test_vllms_own_budget_still_cuts_where_it_must_not(natural, prompt):
    """Should this fail after an upgrade, vLLM's own support may replace ours."""
    from vllm.v1.sample.thinking_budget_state import ThinkingBudgetStateHolder

    config = SimpleNamespace(reasoning_start_token_ids=[OPEN], reasoning_end_token_ids=list(STOP))
    holder, ids = ThinkingBudgetStateHolder(config, 1, 0, torch.device("cpu"), False), []
    added = [(0, SimpleNamespace(thinking_token_budget=3), prompt, ids)]
    holder.sync_batch(SimpleNamespace(removed=[], added=added, moved=[]))
    said = iter(natural)
    for _ in range(12):
        logits_BV = torch.zeros(1, 10)
        logits_BV[0, next(said, OTHER)] = 1
        holder.update_state([ids], None)
        ids.append(int(holder.apply_to_logits(logits_BV, False, None).argmax()))
    assert STOP[0] in ids
    assert STOP[0] not in generate(budget(), natural or [WORD], 12)


def question(text: str, thinking_budget: int | None = None) -> Prompt:
    messages = ({"role": "user", "content": text},)
    return Prompt(id=text, messages=messages, task="math", reference="1", thinking_budget=thinking_budget)


def test_a_budget_knows_where_the_response_begins(tiny_model):
    chat = Chat(tiny_model)
    prompt = chat.render(question("Write <think> here"))
    opened, closed = chat.think_token_ids
    assert opened in prompt
    assert make_budget(chat, prompt, 5) == ThinkingBudget(
        num_tokens=5, is_open=False, open_id=opened, close_id=closed, stop_ids=tuple(chat.tokenizer.encode(STOP_TEXT))
    )
    assert make_budget(chat, (*prompt, opened), 5).is_open
    assert make_budget(chat, (*prompt, opened, *chat.tokenizer.encode("\n")), 5).is_open
    assert not make_budget(chat, (*prompt, opened, closed), 5).is_open
    smollm2 = Chat(resolve_model("package:smollm2"))
    with pytest.raises(ValueError, match="thinking_budget: <think> and </think> are not tokens of the model"):
        make_budget(smollm2, smollm2.render(question("hi")), 5)


def test_the_sentence_is_the_same_tokens_for_qwen3(qwen3_tokenizer):
    chat = Chat(qwen3_tokenizer)
    stop = make_budget(chat, chat.render(question("hi")), 5).stop_ids
    assert chat.tokenizer.decode(stop) == STOP_TEXT
    assert stop[-2:] == (151668, 271)  # </think>, and both line breaks in one token


async def test_an_engine_that_was_not_told_refuses_a_budget():
    async with open_fake_sampler([FakeEngine("e")]) as sampler:
        with pytest.raises(ValueError, match=r"prompt hi has a thinking budget: set engine\.thinking_budget to true"):
            await sampler.sample(question("hi", 5), params=SamplingParams(max_tokens=8), num_samples=1, seed=0)


@pytest.fixture(scope="module")
def thinking_model(tiny_model, tmp_path_factory):
    """The tiny model with a template that opens the thinking, as Qwen3-Thinking-2507's does."""
    folder = tmp_path_factory.mktemp("thinking") / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    tokenizer.save_pretrained(folder)
    return str(folder)


PARAMS = SamplingParams(max_tokens=150)
CONFIG = ENGINE.model_copy(update={"batch_invariant": False, "max_context_tokens": 512, "thinking_budget": True})


def assert_same(samples, others):
    """The same tokens; on a CPU the last bits of log-probs depend on what else is in the batch."""
    for one, other in zip(samples, others, strict=True):
        assert (one.token_ids, one.sampled, one.finish_reason) == (other.token_ids, other.sampled, other.finish_reason)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


async def test_on_the_engine(ray_cluster, thinking_model):
    chat = Chat(thinking_model)
    async with open_sampler(thinking_model, CONFIG, stop_token_ids(thinking_model), 0) as sampler:

        async def ask(text, thinking_budget=None, params=PARAMS):
            return await sampler.sample(question(text, thinking_budget), params=params, num_samples=4, seed=7)

        texts = [f"What is {n} + 2? " * 3 for n in range(8)]
        limits = (None, 5, 16, 1, None)
        calls = [ask(text, limit) for text in texts for limit in limits]  # all at once, with and without a budget
        groups = await asyncio.gather(*calls)
        again = await ask(texts[0], 16)
        short = await ask(texts[0], 16, SamplingParams(max_tokens=20))
        engine = sampler.seats[0].engine
        await check_opening_by_the_response(engine, chat)
    stop = tuple(chat.tokenizer.encode(STOP_TEXT))
    num_cut = 0
    for start in range(0, len(groups), len(limits)):
        plain, *limited, unlimited = groups[start : start + len(limits)]
        assert_same(unlimited.samples, plain.samples)  # a neighbour's budget changes nothing
        for limit, group in zip(limits[1:-1], limited, strict=True):
            for free, sample in zip(plain.samples, group.samples, strict=True):
                if len(free.token_ids) <= limit or chat.think_token_ids[1] in free.token_ids[:limit]:
                    assert_same([sample], [free])  # a budget that is not used up changes nothing
                    continue
                num_cut += 1
                end = limit + len(stop)
                assert sample.token_ids[:end] == free.token_ids[:limit] + stop
                assert len(sample.token_ids) > end, "the model goes on"
                assert sample.sampled == tuple(not limit <= at < end for at in range(len(sample.token_ids)))
                assert sample.logprobs[:limit] == pytest.approx(free.logprobs[:limit], abs=1e-4)
                assert sample.logprobs[limit:end] == (0.0,) * len(stop)
                assert all(p < 0 for p in sample.logprobs[end:])
                assert STOP_TEXT.strip() in sample.text
    assert num_cut > 60
    assert_same(again.samples, groups[2].samples)
    for sample in short.samples:
        assert sample.sampled == tuple(at < 16 for at in range(len(sample.token_ids)))
        assert sample.token_ids[16:] == stop[: len(sample.token_ids) - 16]
    await check_learning(thinking_model, [group for group in groups if group.prompt.thinking_budget == 5])


async def check_opening_by_the_response(engine, chat):
    """The first token that the model says is taken for `<think>`: random weights hardly ever say that one."""
    prompt = chat.tokenizer.encode("12")
    version, (free,) = await engine.generate(tuple(prompt), PARAMS, num_samples=1, seed=1)
    ids = free.token_ids
    assert version == 0
    assert len(ids) > 20
    close = next(token for token in range(200) if token not in ids)
    for limit in (1, 4):
        opened = budget(limit, open_id=ids[0], close_id=close, stop_ids=(65, 66))
        closed = budget(limit, open_id=ids[0], close_id=ids[limit], stop_ids=(65, 66))
        other = budget(limit, open_id=close, close_id=close, stop_ids=(65, 66))
        cut, *whole = [
            (await engine.generate(tuple(prompt), PARAMS, num_samples=1, seed=1, budget=each))[1][0]
            for each in (opened, closed, other)
        ]
        assert cut.token_ids[: limit + 3] == (*ids[: limit + 1], 65, 66)
        assert [one.token_ids for one in whole] == [ids, ids]


async def check_learning(folder, groups):
    """Learner and engine agree on what was sampled, after the forced tokens too; nothing else is counted."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for group in groups[:2]:
        for sample, expected in zip(group.samples, plain_logprobs(model, group), strict=True):
            own = torch.tensor(sample.sampled)
            torch.testing.assert_close(torch.tensor(sample.logprobs)[own], expected[own], atol=1e-4, rtol=0)
    rewards = tuple(RewardResult(score=float(n % 2)) for n in range(4))
    scored = [ScoredGroup(group=group, rewards=rewards, draw=draw) for draw, group in enumerate(groups)]
    num_sampled = sum(sum(sample.sampled) for group in groups for sample in group.samples)
    assert num_sampled < sum(len(sample.token_ids) for group in groups for sample in group.samples)
    batch = pack(make_examples(scored, [[-1.0, 1.0, -1.0, 1.0]] * len(groups)), PackingConfig(), num_ranks=1)
    assert batch.packing["pack/trained_tokens"] == num_sampled
    metrics = group_metrics(scored, 1)
    assert metrics["rollout/tokens"] == num_sampled
    assert 0.9 < metrics["rollout/thinking_cut_rate"] <= 1
    async with open_learner(folder, LEARNER, LossConfig(), temperature=1.0, seed=0) as learner:
        learned = await learner.update(batch)
    assert learned["loss/mismatch_kl"] < 1e-8
