"""Curations on the real scorer, with scripted respondents: whole, interrupted, reviewed by people, asked of servers."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import pytest_asyncio

from rewards.judge import JudgeConfig
from rewards.scorer import Scorer, ScorerConfig
from rl.config_file import parse_config
from rl.conversations import to_conversation
from rl.curation.candidates import ask_all, judge_all
from rl.curation.funnel import Funnel
from rl.curation.fusion import of_direct
from rl.curation.queries import read_queries, reserve
from rl.curation.query_filters import verifiability
from rl.curation.respondents import RespondentConfig, SamplerRespondent, ServerConfig, Unanswered, open_respondent
from rl.curation.selection import PairsConfig
from rl.curation.similarity import HeldOut, SimilarityConfig
from rl.curation.work import find_direct, open_work, select_pairs
from rl.files import Journal
from rl.log import LogConfig, RunLog, read_metrics
from rl.recipes.curate import make_data
from rl.row_stream import RowSourceConfig, read_items
from rl.sources import Source, SourceConfig
from tests.fakes import FakeModelServer, FakeSampler
from tests.rl.test_curation_parts import query_of
from tests.rl.worked import LEAK

GENERATOR = "tests.rl.worked:solution"
KINDS = ["good", "wrong", "repetition", "guesswork", "disagreement", "language", "leak", "malformed"]


@pytest_asyncio.fixture(scope="module")
async def scorer():
    async with Scorer(ScorerConfig()) as opened:
        yield opened


def write_queries(folder: Path) -> str:
    rows = [{"question": f"What is {a} + {a * 7 % 89}?", "reference": str(a + a * 7 % 89)} for a in range(120, 160)]
    rows += [{"question": LEAK, "reference": "90", "domain": "trains"}]  # the only one of its domain: it is reserved
    rows += [{"question": "What is 1 + 1? And what is 2 + 2?", "reference": "2"}]
    rows += [{"question": "What is 5 + 1 in roman numerals?", "reference": "\\text{unreadable"}]
    path = folder / "queries.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config_of(folder, **changes):
    values = {
        "recipe": "curate",
        "queries": [{"path": write_queries(folder)}],
        "validation": {"size": 4},
        "candidates": {"generator": GENERATOR, "options": {"kinds": KINDS, "log": str(folder / "calls")}},
        "choose": {"per_query": 1},
        "log": {"sinks": []},
    }
    return parse_config(values | changes, "test")


async def run(config, folder, scorer):
    folder.mkdir(exist_ok=True)
    funnel = Funnel()
    pool = read_queries(config.queries, config.seed, funnel)
    sets = reserve(pool, config.validation, config.seed, funnel)
    with RunLog(folder, config.log, recipe="curate", num_steps=0) as log:
        await make_data(config, log, scorer, funnel, *sets)
    return json.loads((folder / "data/curation.json").read_text())


def rows_of(folder, name):
    return [json.loads(line) for line in (folder / "data" / f"{name}.jsonl").read_text().splitlines()]


def dropped(counts):
    total = Counter()
    for stage in counts["stages"]:
        total.update(stage["dropped"])
    return total


async def test_every_stage_counts_what_it_drops_and_loses_nothing(tmp_path, scorer):
    pairs = {"generator": GENERATOR, "options": {"kinds": ["good", "wrong", "wrong"]}, "num_samples": 4, "num_pairs": 5}
    counts = await run(config_of(tmp_path, pairs=pairs, choose={"max_conversations": 12}), tmp_path / "run", scorer)
    units = {}
    for stage in counts["stages"]:
        assert stage["in"] == stage["out"] + sum(stage["dropped"].values())
        # In the units of before, a stage takes what the last one let through; pairs begin anew from the queries.
        if stage["stage"] in ("responses by rules", "conversations", "candidates", "pairs, learnable", "pairs"):
            assert stage["in"] == units[stage["unit"]]
        units[stage["unit"]] = stage["out"]
    reasons = dropped(counts)
    wanted = {"multiple_questions", "validation", "wrong_answer", "repetition", "guesswork", "disagreement"}
    wanted |= {"language_mixing", "similar_to_validation", "malformed", "used_in_cold_start", "beyond_num_pairs"}
    assert wanted <= reasons.keys()
    data = tmp_path / "run/data"
    conversations = read_items(RowSourceConfig(path=str(data / "conversations.jsonl")), to_conversation)
    assert len(conversations) == 12
    assert all(each.thinking and each.messages[-1]["content"].startswith("<think>\nWe") for each in conversations)
    prompts = rows_of(tmp_path / "run", "rl_prompts")
    assert len(prompts) == 5
    assert all(0 < row["pass_rate"] <= 0.75 for row in prompts)
    assert [row["pass_rate"] for row in prompts] == sorted(row["pass_rate"] for row in prompts)
    assert Source(SourceConfig(path=str(data / "rl_prompts.jsonl"), shuffle=False), 0).prompt(0).id == prompts[0]["id"]
    used = {row["query_id"] for row in rows_of(tmp_path / "run", "conversations")}
    held_out = {row["id"] for row in rows_of(tmp_path / "run", "validation")}
    assert not used & held_out
    assert not {row["id"] for row in prompts} & (used | held_out)
    (metrics,) = read_metrics(tmp_path / "run")
    assert metrics["curate/responses_by_rules/dropped/guesswork"] == reasons["guesswork"]


async def test_an_interrupted_run_asks_only_for_what_is_missing_and_ends_the_same(tmp_path, scorer):
    config, calls = config_of(tmp_path), tmp_path / "calls"
    counts = await run(config, tmp_path / "whole", scorer)
    num_calls = len(calls.read_text().splitlines())
    journal = tmp_path / "whole/journal/answers.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut/journal").mkdir(parents=True)
    (tmp_path / "cut/journal/answers.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:30])
    assert await run(config, tmp_path / "cut", scorer) == counts
    assert len(calls.read_text().splitlines()) - num_calls == 4 * (len(lines) - 10)
    assert rows_of(tmp_path / "cut", "conversations") == rows_of(tmp_path / "whole", "conversations")
    assert await run(config, tmp_path / "cut", scorer) == counts
    assert len(calls.read_text().splitlines()) - num_calls == 4 * (len(lines) - 10)
    assert len(read_metrics(tmp_path / "cut")) == 1


async def test_what_never_passes_goes_to_people_and_their_verdicts_come_back(tmp_path, scorer):
    candidates = {"generator": GENERATOR, "options": {"kinds": ["wrong"]}, "num_samples": 2}
    folder = tmp_path / "run"
    first = await run(config_of(tmp_path, candidates=candidates), folder, scorer)
    waiting = rows_of(folder, "review")
    assert first["figures"]["curate/pass@2"] == 0
    assert dropped(first)["never_passed"] == len(waiting) > 30
    assert rows_of(folder, "conversations") == []
    waiting[0]["candidates"][1]["right"] = True
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(waiting[0]) + "\n")
    reviewed = config_of(tmp_path, candidates=candidates, review={"path": str(tmp_path / "verdicts.jsonl")})
    second = await run(reviewed, folder, scorer)
    assert dropped(second)["never_passed"] == len(waiting) - 1
    (conversation,) = rows_of(folder, "conversations")
    assert conversation["query_id"] == waiting[0]["id"]
    third = await run(config_of(tmp_path, candidates=candidates), folder, scorer)  # the run's own file has it now
    assert third == second


async def test_queries_that_a_model_answers_without_thinking_are_dropped(tmp_path, scorer):
    easy = {"generator": GENERATOR, "options": {"kinds": ["good", "wrong"]}, "num_samples": 3, "max_rate": 0.5}
    counts = await run(config_of(tmp_path, query_filters={"without_thinking": easy}), tmp_path / "run", scorer)
    (stage,) = [stage for stage in counts["stages"] if stage["stage"] == "without thinking"]
    assert 0 < stage["dropped"]["answerable_without_thinking"] < stage["in"]
    assert stage["noted"] == {}


def obedient(rng, prompt):
    """Right where nothing is asked of it, as by reasoning in its answer; wrong where the answer alone is wanted."""
    a, b = map(int, re.findall(r"\d+", prompt.messages[-1]["content"])[:2])
    told = prompt.messages[0]["role"] == "system" and "answer alone" in prompt.messages[0]["content"]
    return f"\\boxed{{{a + b + told}}}"


async def test_a_model_is_asked_for_the_answer_alone(tmp_path, scorer):
    """Without `system` this one reasons, and every query is dropped; queries that are kept are as they were."""
    for system, dropped_of_all in ((None, True), ("Give the answer alone.", False)):
        asked = {"generator": f"{__file__}:obedient", "num_samples": 1, "system": system}
        folder = tmp_path / f"run-{dropped_of_all}"
        counts = await run(config_of(tmp_path, query_filters={"without_thinking": asked}), folder, scorer)
        (stage,) = [stage for stage in counts["stages"] if stage["stage"] == "without thinking"]
        assert stage["dropped"].get("answerable_without_thinking", 0) == dropped_of_all * stage["in"]
    assert {len(row["prompt"]) for row in rows_of(folder, "queries")} == {1}


def test_a_system_message_is_put_before_the_one_that_is_there():
    query = query_of()
    once = query.after("Be brief.")
    assert [message["role"] for message in once.prompt.messages] == ["system", "user"]
    assert once.after("Answer.").prompt.messages[0]["content"] == "Answer.\n\nBe brief."
    assert once.id == query.id
    assert query.after(None) is query


async def test_a_reference_is_verifiable_where_its_own_verifier_accepts_it(scorer):
    queries = [
        query_of(),
        query_of(reference="12, 13 and perhaps 14", task="math_int"),
        query_of(task="code_stdio"),
        query_of(reference="B", task="mcq"),
    ]
    reasons, notes = await verifiability(queries, scorer)
    assert reasons == [None, "unreadable_reference", None, None]
    assert notes == ["reference_not_checked"]


@pytest.mark.parametrize(
    ("content", "reason", "note"),
    [
        ('{"verdict": "guesswork"}', "guesswork", None),
        ('{"verdict": "reasoned"}', None, None),
        ("perhaps", None, "judge_guesswork_unanswered"),
    ],
)
async def test_the_judge_is_asked_after_the_rules(tmp_path, content, reason, note):
    with FakeModelServer(content=content) as server:
        judge = JudgeConfig(url=f"{server.url}/v1", model="j", canaries=False, max_concurrent=2)
        config = config_of(
            tmp_path,
            candidates={"generator": GENERATOR},
            judge_questions=["guesswork"],
            rewards={"judge": judge.model_dump()},
        )
        async with Scorer(config.rewards) as judging:
            counts = await run(config, tmp_path / "run", judging)
        num_asked = len(server.requests)
        async with Scorer(config.rewards) as judging:  # without the replies that the first one remembers
            await run(config, tmp_path / "run", judging)
    (stage,) = [stage for stage in counts["stages"] if stage["stage"] == "responses by judge, guesswork"]
    assert stage["dropped"] == ({reason: stage["in"]} if reason else {})
    assert stage["noted"] == ({note: stage["in"]} if note else {})
    assert (len(server.requests) == num_asked) == (note is None)  # verdicts are kept, failures asked again
    (not_asked,) = [stage for stage in counts["stages"] if stage["stage"] == "responses by judge, style"]
    assert not_asked["noted"] == ({"judge_style_not_asked": not_asked["in"]} if not_asked["in"] else {})


async def test_a_server_is_asked_for_each_response_with_its_own_seed():
    with FakeModelServer(content="so \\boxed{68}") as server:
        endpoint = ServerConfig(url=f"{server.url}/v1", model="teacher", max_retries=0, extra={"min_p": 0.1})
        config = RespondentConfig(endpoint=endpoint, num_samples=3)
        async with open_respondent(config, thinking=True, seed=1) as respondent:
            found = await respondent.respond(query_of(), 7)
    assert found == [{"text": "so \\boxed{68}", "finish_reason": "stop"}] * 3
    assert len({body["seed"] for body in server.requests}) == 3
    assert all(body["chat_template_kwargs"] == {"enable_thinking": True} for body in server.requests)
    assert server.requests[0]["min_p"] == 0.1


async def test_without_thinking_a_server_s_answer_is_behind_the_block():
    with FakeModelServer(content="The Red Sea.") as server:
        config = RespondentConfig(endpoint=ServerConfig(url=f"{server.url}/v1", model="teacher"), num_samples=1)
        async with open_respondent(config, thinking=False, seed=1) as respondent:
            found = await respondent.respond(query_of(), 7)
    assert found == [{"text": "The Red Sea.", "finish_reason": "stop", "think_block": "closed"}]


@pytest.mark.parametrize(("block", "score"), [("closed", 1.0), ("none", 0.0)])
async def test_a_response_is_judged_by_where_its_prompt_left_it(tmp_path, scorer, block, score):
    query = query_of("A sea?", reference=None, task="think_format")
    sampler = FakeSampler(lambda prompt: ["The Red Sea."], think_block=block)
    respondent = SamplerRespondent(sampler, RespondentConfig(model="m", num_samples=1), thinking=False)
    answers = {query.id: await respondent.respond(query, 7)}
    with (
        Journal(tmp_path / "scores.jsonl") as journal,
        RunLog(tmp_path, LogConfig(sinks=[]), recipe="curate", num_steps=0) as log,
    ):
        judged = await judge_all([query], answers, scorer, journal, name="t", console=log)
    assert [each.score for each in judged[query.id]] == [score]


@pytest.mark.parametrize("word", ["500", "garbage", "wrong schema", "close"])
async def test_a_server_that_fails_answers_no_query(word):
    with FakeModelServer([word] * 3) as server:
        endpoint = ServerConfig(url=f"{server.url}/v1", model="teacher", max_retries=0)
        config = RespondentConfig(endpoint=endpoint, num_samples=1)
        async with open_respondent(config, thinking=True, seed=1) as respondent:
            with pytest.raises(Unanswered, match="no_answer"):
                await respondent.respond(query_of(), 7)


async def test_a_run_stops_where_the_server_is_gone(tmp_path, scorer):
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "teacher", "max_retries": 0}
    config = config_of(tmp_path, candidates={"endpoint": endpoint})
    with pytest.raises(RuntimeError, match=r"candidates: \d+ queries in a row got no answer .*--resume"):
        await run(config, tmp_path / "run", scorer)


async def test_responses_made_elsewhere_are_read_from_a_file(tmp_path):
    known, unknown = query_of(), query_of("What is 3 + 4?", reference="7")
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps({"query_id": known.id, "responses": ["a", "b", "c"]}) + "\n")
    with (
        Journal(tmp_path / "j.jsonl") as journal,
        RunLog(tmp_path, LogConfig(sinks=[]), recipe="curate", num_steps=0) as log,
    ):
        found, failures = await ask_all(
            [known, unknown],
            RespondentConfig(path=str(path), num_samples=2),
            journal,
            name="candidates",
            thinking=True,
            seed=0,
            console=log,
        )
    assert [each["text"] for each in found[known.id]] == ["a", "b"]
    assert failures == {unknown.id: "no_answer"}


async def test_answers_without_thinking_are_right_and_hold_no_thinking(tmp_path, scorer):
    query, other = query_of(), query_of("What is 3 + 4?", reference="7")
    responses = ["\\boxed{68}", "\\boxed{69}", "<think>\nIt is so.\n</think>\n\n\\boxed{68}", "So it is \\boxed{68}."]
    responses.append(f"{LEAK} \\boxed{{68}}")
    held_out = HeldOut([LEAK], SimilarityConfig())
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps({"query_id": query.id, "responses": responses}) + "\n")
    funnel = Funnel()
    with (
        RunLog(tmp_path, LogConfig(sinks=[]), recipe="fuse", num_steps=0) as log,
        open_work(tmp_path / "journal", scorer, funnel, log, 0) as work,
    ):
        found = await find_direct([query, other], RespondentConfig(path=str(path), num_samples=5), held_out, work)
    assert [of_direct(each).content for each in found] == [responses[0], responses[3]]
    assert not of_direct(found[0]).thinking
    assert [dict(stage.reasons) for stage in funnel.stages] == [
        {"no_answer": 1},
        {"wrong_answer": 1, "malformed": 1, "similar_to_validation": 1},
    ]


async def test_pairs_are_learnable(tmp_path, scorer):
    queries = [query_of(f"What is {n} + 1?", reference=str(n + 1)) for n in range(100, 112)]
    config = PairsConfig(generator=GENERATOR, options={"kinds": ["good", "wrong"]}, num_samples=2, max_rate=0.5)
    funnel = Funnel()
    with (
        RunLog(tmp_path, LogConfig(sinks=[]), recipe="curate", num_steps=0) as log,
        open_work(tmp_path / "journal", scorer, funnel, log, 0) as work,
    ):
        pairs = await select_pairs(queries, {queries[0].id}, config, work)
    assert {pair.rate for pair in pairs} == {0.5}
    assert queries[0].id not in [pair.id for pair in pairs]
    reasons = funnel.stages[1].reasons
    assert reasons["never_solved"] > 0
    assert reasons["too_easy"] > 0
    assert len(pairs) == 11 - reasons.total()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge_questions": ["style"]}, r"set rewards\.judge\.url"),
        ({"judge_questions": ["mood"]}, "unknown mood; known are query"),
        ({"query_filters": {"names": ["hard"]}}, "unknown query filter 'hard'"),
        ({"candidates": {}}, "exactly one of model, endpoint, path, generator"),
        ({"candidates": {"endpoint": {"serve": True, "model": "m"}}}, "give url and model of a running server"),
    ],
)
def test_configs_that_cannot_work_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        config_of(tmp_path, **change)
