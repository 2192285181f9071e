"""Parts of a curation: near-duplicates, filters, journal, review, selection, each on literal values."""

import dataclasses
import json
import pickle
import random

import pytest

from rewards.calls import Unavailable
from rewards.verifiers.language import language_of
from rl.curation.candidates import Candidate, pass_rate
from rl.curation.funnel import Funnel
from rl.curation.queries import Query, QuerySourceConfig, ValidationConfig, balanced, read_queries, reserve
from rl.curation.query_filters import length_reasons, multiple_questions, open_ended
from rl.curation.respondents import RespondentConfig, SamplerRespondent, ServerConfig, ServerRespondent
from rl.curation.response_filters import ResponseFiltersConfig, response_reasons
from rl.curation.review import ReviewConfig, apply_verdicts, read_verdicts, write_review
from rl.curation.selection import ChooseConfig, Pair, choose, conversation_row, hardest, used_queries
from rl.curation.similarity import HeldOut, SimilarityConfig
from rl.files import Journal, write_atomically
from rl.sources import Source, SourceConfig
from rollout.types import Prompt, prompt_id
from tests.fakes import make_group
from tests.rl.worked import LEAK, respond


def query_of(text="What is 23 + 45?", *, task="math", domain="math", reference="68"):
    messages = ({"role": "user", "content": text},)
    prompt = Prompt(id=prompt_id(messages, task, reference), messages=messages, task=task, reference=reference)
    return Query(prompt=prompt, domain=domain, text=text)


def candidate(text="", *, query=None, number=0, score=1.0, extracted="68", thinking_score=None, right=None, end="stop"):
    return Candidate(
        query=query or query_of(),
        number=number,
        text=text or respond("good", 23, "+", 45),
        finish_reason=end,
        score=score,
        extracted=extracted,
        thinking_score=thinking_score,
        right=right,
    )


def reason_of(found, held_out=(), **changes):
    (reason,) = response_reasons([found], ResponseFiltersConfig(**changes), HeldOut(held_out, SimilarityConfig()))
    return reason


@pytest.mark.parametrize(
    ("other", "near"),
    [
        ("What is 23 + 45?", True),
        ("what is 45 + 23", True),  # its twin
        ("What is 23 + 46?", False),
        ("What is 23 * 45?", False),
    ],
)
def test_a_question_is_near_another_in_any_order(other, near):
    assert HeldOut(["What is 23 + 45?"], SimilarityConfig(questions=0.85)).near_question(other) is near


def test_a_text_is_near_a_question_that_it_holds():
    held_out = HeldOut([LEAK, "What is 2?"], SimilarityConfig())
    assert held_out.near_text("x " * 500 + LEAK.replace("noon", "one").upper() + " y" * 500)
    assert not held_out.near_text("A train leaves the old harbour at dawn, and nobody knows where it will go today.")
    assert not held_out.near_text("What is 2?")  # too short to be looked for
    assert not HeldOut([], SimilarityConfig()).near_question("What is 2?")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Let f(x) = x^2. (a) Find f(2). (b) Find f(3).", "multiple_questions"),
        ("Let n = 4.\ni) Is n even?\nii) Is n prime?", "multiple_questions"),
        ("What is 2 + 3? And what is its square?", "multiple_questions"),
        ("Solve x (a) + b = 3 for x.", None),
        ("What is 2 + 3?", None),
    ],
)
def test_multiple_questions(text, reason):
    assert multiple_questions(query_of(text)) == reason


def test_options_are_no_questions():
    options = "Which is even? a) 3 b) 4"
    assert multiple_questions(query_of(f"{options}; c) 5?", task="mcq")) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a poem about the sea.", "open_ended"),
        ("Please explain why the sky is blue.", "open_ended"),
        ("Write the equation of the line through (0, 1) and (1, 3).", None),
        ("What is 2 + 3?", None),
    ],
)
def test_open_ended(text, reason):
    assert open_ended(query_of(text)) == reason


def test_writing_is_how_code_is_asked_for():
    assert open_ended(query_of("Write something that sorts.", task="code_stdio")) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("good", None),
        ("repetition", "repetition"),
        ("guesswork", "guesswork"),
        ("owned_guess", "guesswork"),
        ("unsupported", "disagreement"),
        ("language", "language_mixing"),
        ("style", "style_shift"),
        ("leak", "similar_to_validation"),
        ("malformed", "malformed"),
    ],
)
def test_each_filter_has_its_reason(kind, reason):
    assert reason_of(candidate(respond(kind, 23, "+", 45)), [LEAK]) == reason


def test_reasons_that_are_measured_by_the_verifier():
    assert reason_of(candidate(score=0.0)) == "wrong_answer"
    assert reason_of(candidate(score=None)) == "unscored"
    assert reason_of(candidate(score=0.0, right=True)) is None  # people know better
    assert reason_of(candidate(score=1.0, right=False)) == "wrong_answer"
    assert reason_of(candidate(thinking_score=0.0)) == "disagreement"
    assert reason_of(candidate(end="length")) == "truncated"


def test_filters_are_chosen_by_name():
    assert reason_of(candidate(respond("guesswork", 23, "+", 45)), names=["repetition"]) is None
    with pytest.raises(ValueError, match=r"unknown response filter 'repetitions'.*repetition"):
        ResponseFiltersConfig(names=["repetitions"])


def test_the_funnel_loses_nothing(tmp_path):
    funnel = Funnel()
    assert funnel.sift("first", "rows", "abcd", ["x", None, "x", None], ["seen"]) == ["b", "d"]
    assert funnel.sift("second", "rows", "bd", [None, "y"]) == ["b"]
    funnel.write(tmp_path / "counts.json", {})
    stages = json.loads((tmp_path / "counts.json").read_text())["stages"]
    assert [(s["in"], s["out"], s["dropped"], s["noted"]) for s in stages] == [
        (4, 2, {"x": 2}, {"seen": 1}),
        (2, 1, {"y": 1}, {}),
    ]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        funnel.sift("third", "rows", "ab", [None])


def test_a_journal_forgets_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"text": "\ud800 lone, \u2028 end"})
        journal.add("b", [1])
    path.write_bytes(path.read_bytes()[:-3])
    with Journal(path) as journal:
        assert "b" not in journal
        assert journal.get("a") == {"text": "\ud800 lone, \u2028 end"}
        journal.add("b", [2])
    with Journal(path) as journal:
        assert journal.get("b") == [2]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "f.txt"
    write_atomically(path, "old")
    (tmp_path / ".f.txt.partial").mkdir()  # in the way
    with pytest.raises(OSError, match=r"cannot write .*f\.txt"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def numbers(count, domain=None):
    rows = [{"question": f"What is {n} + {n + 1}?", "reference": str(2 * n + 1)} for n in range(10, 10 + count)]
    return [row | ({"domain": domain(n)} if domain else {}) for n, row in enumerate(rows)]


def test_rows_are_read_once_and_bad_ones_counted(tmp_path):
    rows = [*numbers(3), numbers(1)[0], {"question": "no reference"}]
    source = {"path": written(tmp_path / "q.jsonl", rows), "template": "{question} Box it.", "domain": "sums"}
    funnel = Funnel()
    found = read_queries([QuerySourceConfig(**source, on_bad_row="skip")], 0, funnel)
    assert [query.text for query in found] == ["What is 10 + 11?", "What is 11 + 12?", "What is 12 + 13?"]
    assert found[0].prompt.messages[0]["content"] == "What is 10 + 11? Box it."
    assert found[0].domain == "sums"
    assert funnel.stages[0].reasons == {"duplicate": 1, "bad_row": 1}
    with pytest.raises(ValueError, match="row 4: no reward_model"):
        read_queries([QuerySourceConfig(**source)], 0, Funnel())


def test_the_validation_set_is_balanced_and_does_not_depend_on_the_order_of_rows(tmp_path):
    rows = numbers(30, lambda n: "a" if n < 26 else "b")
    source = QuerySourceConfig(path=written(tmp_path / "q.jsonl", rows))
    queries = read_queries([source], 0, Funnel())
    twin = query_of("What is 11 + 10?", reference="21")
    mixed = random.Random(1).sample(queries, len(queries))
    funnel = Funnel()
    reserved, training, _ = reserve([*queries, twin], ValidationConfig(size=6), 5, funnel)
    again, _, _ = reserve([twin, *mixed], ValidationConfig(size=6), 5, Funnel())
    other, _, _ = reserve(queries, ValidationConfig(size=6), 6, Funnel())
    assert [q.id for q in reserved] == [q.id for q in again] != [q.id for q in other]
    assert {domain: [q.domain for q in reserved].count(domain) for domain in ("a", "b", "math")} == {
        "a": 3, "b": 2, "math": 1
    }  # fmt: skip
    assert not {q.id for q in reserved} & {q.id for q in training}
    # The twin is the only one of its domain, so it is reserved, and what it is near to is not trained on.
    assert "What is 10 + 11?" not in [q.text for q in training]
    assert funnel.stages[0].reasons["validation"] == 6
    assert funnel.stages[0].num_out == len(training)


def test_too_large_a_validation_set_is_refused():
    with pytest.raises(ValueError, match=r"validation\.size: 1 of 1 queries"):
        reserve([query_of()], ValidationConfig(size=1), 0, Funnel())
    with pytest.raises(ValueError, match="either size or share"):
        ValidationConfig()


def test_a_query_row_is_read_back_as_the_same_prompt(tmp_path):
    query = query_of()
    source = Source(SourceConfig(path=written(tmp_path / "p.jsonl", [query.row()])), seed=0)
    assert source.prompt(0) == query.prompt


def test_verdicts_of_people_come_back_and_survive_a_new_file(tmp_path):
    query = query_of()
    found = {query.id: [candidate("one", query=query, score=0.0), candidate("two", query=query, number=1, score=0.0)]}
    path = tmp_path / "review.jsonl"
    write_review(path, [query], found)
    row = json.loads(path.read_text())
    assert [entry["right"] for entry in row["candidates"]] == [None, None]
    row["candidates"][1]["right"] = True
    written(path, [row])
    judged = apply_verdicts(ReviewConfig(), path, found)
    assert [each.passed for each in judged[query.id]] == [False, True]
    assert pass_rate(judged[query.id]) == 0.5
    write_review(path, [query], judged)
    assert read_verdicts(path, found) == {(query.id, 1): True}


def test_a_query_that_a_resume_dropped_does_not_spoil_the_runs_own_file(tmp_path):
    """What had failed is tried again, and the judge may find a query unfit that waited for people."""
    kept, dropped = query_of(), query_of("Describe a sea.")
    found = {query.id: [candidate(query=query)] for query in (kept, dropped)}
    own = tmp_path / "review.jsonl"
    write_review(own, [kept, dropped], found)
    left = {kept.id: found[kept.id]}
    assert apply_verdicts(ReviewConfig(), own, left) == left
    with pytest.raises(ValueError, match="unknown query id"):
        apply_verdicts(ReviewConfig(path=str(own)), tmp_path / "none.jsonl", left)


async def test_a_server_is_asked_with_all_that_the_sampling_says():
    bodies = []

    class Client:
        async def post(self, path, body):
            bodies.append(body)
            return {"choices": [{"message": {"content": "68"}, "finish_reason": "stop"}]}

    server = ServerConfig(url="http://127.0.0.1:1/v1", model="m")
    for sampling in ({"presence_penalty": 1.5, "min_p": 0.1, "top_k": 20}, {}):
        config = RespondentConfig(endpoint=server, sampling=sampling, num_samples=1)
        await ServerRespondent(Client(), server, config, thinking=False).respond(query_of(), 0)
    named = {"presence_penalty": 1.5, "min_p": 0.1, "top_k": 20}
    assert named.items() <= bodies[0].items()
    assert not named.keys() & bodies[1].keys(), "servers that do not know them are not asked for what is usual"


async def test_a_response_after_an_open_block_is_told_as_a_whole():
    class Opened:
        async def sample(self, prompt, **_):
            return dataclasses.replace(make_group(["Hm.</think>68", "Hm."]), think_block="open")

    config = RespondentConfig(model="package:tiny-qwen3", num_samples=2)
    responses = await SamplerRespondent(Opened(), config, thinking=True).respond(query_of(), 0)
    assert [(each["text"], each["think_block"]) for each in responses] == [
        ("<think>\nHm.</think>68", "none"),
        ("<think>\nHm.", "none"),
    ]


def test_queries_that_later_stages_have_no_room_for_are_dropped():
    queries = [query_of(), query_of("What is 1 + " * 30 + "1?")]
    assert length_reasons(queries, "package:tiny-qwen3", 60) == [None, "too_long"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "ffff"}, "unknown query id 'ffff'"),
        ({"candidates": [{"number": 7, "right": True}]}, "has no candidate 7"),
        ({"candidates": [{"number": 0, "response": "else", "right": True}]}, "the response is not this run's"),
        ({"candidates": [{"number": 0, "right": "yes"}]}, "right must be true, false or null"),
        ({"candidates": [{"number": [], "right": True}]}, "has no candidate"),
        ({"candidates": None}, "no list candidates"),
    ],
)
def test_verdicts_on_what_is_not_there_are_refused(tmp_path, change, message):
    query = query_of()
    path = written(tmp_path / "v.jsonl", [{"id": query.id, "candidates": []} | change])
    with pytest.raises(ValueError, match=message):
        apply_verdicts(ReviewConfig(path=path), tmp_path / "none.jsonl", {query.id: [candidate(query=query)]})


def test_unscored_candidates_are_no_wrong_ones():
    assert pass_rate([candidate(score=None), candidate(score=1.0)]) == 1.0
    assert pass_rate([candidate(score=None)]) is None


def test_the_shortest_responses_are_chosen_and_domains_take_turns():
    queries = [query_of(f"What is {n} + 1?", domain="a" if n < 5 else "b", reference=str(n + 1)) for n in range(6)]
    long, short = respond("good", 23, "+", 45) + " Indeed.", respond("good", 23, "+", 45)
    found = [candidate(text, query=q, number=n) for q in queries for n, text in enumerate((long, short))]
    reasons = choose(found, ChooseConfig(max_conversations=2), seed=0)
    kept = [each for each, reason in zip(found, reasons, strict=True) if reason is None]
    assert [each.text for each in kept] == [short, short]
    assert {each.domain for each in kept} == {"a", "b"}
    assert reasons.count("beyond_per_query") == 6
    assert reasons.count("beyond_max_conversations") == 4


def test_a_conversation_has_the_templates_own_form(tmp_path):
    row = conversation_row(candidate("  reasons \n</think>so it is \\boxed{68}", number=2))
    assert row["messages"][-1]["content"] == "<think>\nreasons\n</think>\n\nso it is \\boxed{68}"
    assert row["thinking"] is True
    assert used_queries([written(tmp_path / "c.jsonl", [row])]) == {query_of().id}
    with pytest.raises(ValueError, match="no query_id"):
        used_queries([written(tmp_path / "d.jsonl", [{"messages": []}])])


def test_the_hardest_pairs_of_each_domain_come_first():
    rates = {"a": [0.5, 0.125, 0.25], "b": [0.375, 0.625]}
    pairs = [Pair(query_of(f"{domain} {rate}", domain=domain), rate) for domain, each in rates.items() for rate in each]
    kept, reasons = hardest(pairs, 3, seed=0)
    assert [(pair.domain, pair.rate) for pair in kept] == [("a", 0.125), ("b", 0.375), ("a", 0.25)]
    assert reasons == ["beyond_num_pairs", None, None, None, "beyond_num_pairs"]
    assert balanced([]) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("A train leaves the station at noon; how many wheels does it have?", "en"),
        ("Wie viele Äpfel hat Anna, wenn sie drei Körbe mit je vier Äpfeln füllt?", "de"),
        ("这个数字是多少，请计算一下它们的总和。", "zh"),
        ("これは何個のりんごですか教えてください", "ja"),
        ("Πόσα μήλα έχει η Άννα στο καλάθι;", "el"),
        ("What is 2 + 3?", None),
        ("$x^2 = 4$", None),
    ],
)
def test_the_language_of_a_question(text, code):
    assert language_of(text) == code


def test_a_models_failure_survives_its_way_between_processes():
    again = pickle.loads(pickle.dumps(Unavailable("timeout", "late")))
    assert (type(again), again.status, str(again)) == (Unavailable, "timeout", "late")
