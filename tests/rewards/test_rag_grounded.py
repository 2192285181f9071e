"""The task `rag_grounded`: citations, quotations and answers."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.citations import as_words, citations, occurs, quotes, read_documents, split_answer

DOCUMENTS = {
    "a-1": "The river Aare flows through Bern, the capital.",
    "b": "Bern has 134,000 people; it is old.",
    "c": "x",
}


def judge(response, answers="Bern", wanted=("a-1",), documents=DOCUMENTS, **params):
    reference = {"answers": answers, "documents": documents, "citations": list(wanted)}
    return load_tasks()["rag_grounded"].function(
        RewardRequest(task="rag_grounded", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("x [1]", ["1"]),
        ("[1][2]", ["1", "2"]),
        ("[1, 2; 3]", ["1", "2", "3"]),
        ("[ a-1 ]", ["a-1"]),
        ("", []),
        ("[]", [""]),
        ("[1,]", ["1", ""]),
        ("[...] […] [1]", ["1"]),
        ('"a [2] b" [1]', ["1"]),
        ("[[1]]", ["1"]),
        ("[a\nb]", []),
        ("[see below]", ["see below"]),
        ("[x](http://y)", ["x"]),
    ],
)
def test_citations(text, ids):
    assert [citation.id for citation in citations(text)] == ids


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('he said "one two three".', ["one two three"]),
        ('"one two"', []),
        ("“one two three” «four five six»", ["one two three", "four five six"]),
        ('"one two\nthree"', []),
        ('5" and 6" and 7"', []),
        ('"" "a b c"', ["a b c"]),
        ('""a b c"', ["a b c"]),
        ('" "a b c"', ["a b c"]),
        ('"x "a b c"', ["a b c"]),
        ('5" "a b c"', ["a b c"]),
        ('"a b c." and so on "d"', ["a b c."]),
        ('"a b c."[1] and so on "d"', ["a b c."]),
        ('"... a b c"', ["... a b c"]),
    ],
)
def test_quotes(text, found):
    assert [quote.text for quote in quotes(text)] == found


@pytest.mark.parametrize(
    ("quote", "there"),
    [
        ("river Aare flows", True),
        ("THE RIVER, Aare", True),
        ("river  Aare\nflows", True),
        ("iver Aare flows", False),
        ("river flows through", False),
        ("river ... Bern", True),
        ("river […] the capital", True),
        ("Bern ... river", False),
        ("river ... river", False),
        ("the capital", True),
        ("...", True),
        ("r\u200biver Aare flows", True),
        ("r\u0456ver Aare flows", False),
    ],
)
def test_occurrence(quote, there):
    assert occurs(quote, as_words(DOCUMENTS["a-1"])) is there


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["aa", "b", "ab", "c."]), min_size=1, max_size=12), st.data())
def test_every_run_of_words_occurs(words, data):
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    assert occurs(" ".join(words[start:end]), as_words("  ".join(words)))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: x", "x"),
        ("so\n**Answer:** x\nmore", "x"),
        ("Final answer: x\nAnswer: y", "y"),
        ("> ### ANSWER : x", "x"),
        ("the answer: x", "the answer: x"),
        ("x", "x"),
        ("Answer:", ""),
        ("Answers: x", "Answers: x"),
    ],
)
def test_the_answer(text, answer):
    assert split_answer(text)[0] == answer


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("Bern [a-1]", True),
        ("bern. [a-1]", True),
        ("Answer: Bern\nSee [a-1].", True),
        ("The river [a-1].\nAnswer: Bern [a-1]", True),
        ("Bern [A-1]", False),
        ("Bern [b]", False),
        ("Bern [a-1, b]", False),
        ("Bern [a-1][zz]", False),
        ("Bern [a-1] []", False),
        ("Bern (a-1)", False),
        ("Basel [a-1]", False),
        ("Bern or Basel [a-1]", False),
        ("Bern 【a-1】", False),
        ("B\u0435rn [a-1]", False),
        ("[a-1]", False),
        ("not Bern [a-1]", False),
        ('"river Aare flows through Bern" [a-1]\nAnswer: Bern', True),
        ('"river Rhine flows through Bern" [a-1]\nAnswer: Bern', False),
        ('"Bern has 134,000 people" [a-1]\nAnswer: Bern', False),
        ('"river Aare flows"\nAnswer: Bern [a-1]', True),
        ('"it is old"\nAnswer: Bern [a-1]', False),
        ("“river Aare flows” [a-1]\nAnswer: Bern", True),
        ("«river Rhine flows» [a-1]\nAnswer: Bern", False),
    ],
)
def test_responses(response, right):
    assert judge(response).score == float(right), judge(response).reason


def test_components():
    result = judge("Bern [a-1, b]")
    assert result.components == {"answer": 1.0, "precision": 0.5, "recall": 1.0}
    assert judge("Bern [a-1, b]", min_precision=0.5).score == 1
    assert judge("Bern [a-1]", wanted=("a-1", "b"), min_recall=0.5).score == 1
    assert judge("Bern [a-1]", wanted=("a-1", "b"), score="f1").score == pytest.approx(2 / 3)
    assert judge("Basel [a-1]", score="f1").score == 0
    assert judge("Bern [a-1, zz]", score="f1").score == 0
    assert judge("Bern", score="f1").score == 0


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("It is Bern [a-1].", True),
        ("It is the city of Bern, on the Aare [a-1].", True),
        ("It is Berne [a-1].", False),
        ("It isn't Bern [a-1].", False),
        ("Bern or Basel [a-1].", False),
        ("It is never Bern [a-1].", False),
        ("It is Bern [a-1]. " + "x " * 60, False),
    ],
)
def test_an_answer_that_contains(response, right):
    assert judge(response, match="contains").score == float(right)


@pytest.mark.parametrize(
    "documents", [["one", "Bern is here"], [{"id": 1, "text": "one"}, {"id": "2", "text": "Bern"}]]
)
def test_documents_may_be_listed(documents):
    assert judge("Bern [2]", wanted=[2], documents=documents).score == 1
    assert judge("Bern [3]", wanted=[2], documents=documents).score == 0


@pytest.mark.parametrize(
    "documents",
    [None, {}, [], "x", {"a": 5}, {"": "x"}, [{"id": 1}], [{"id": 1, "text": "x"}, {"id": "1", "text": "y"}], [None]],
)
def test_documents_that_cannot_be_read(documents):
    with pytest.raises(ValueError, match="documents"):
        read_documents(documents)
    assert judge("Bern [1]", wanted=[], documents=documents).status == "unscorable"


@pytest.mark.parametrize(
    "change", [{"answers": []}, {"answers": None}, {"answers": [""]}, {"answers": [[]]}, {"wanted": ["zz"]}]
)
def test_references_that_cannot_be_read(change):
    result = judge("Bern [a-1]", **change)
    assert (result.score, result.status) == (None, "unscorable")


def test_a_reference_that_is_no_object():
    request = RewardRequest(task="rag_grounded", response="x", reference=["x"])
    assert load_tasks()["rag_grounded"].function(request).status == "unscorable"


@pytest.mark.parametrize(
    "params", [{"match": "some"}, {"score": 1}, {"min_recall": 2}, {"min_precision": "1"}, {"require_quote": 1}]
)
def test_unknown_params_are_errors(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge("Bern [a-1]", **params)


def test_many_quotations_are_refused():
    assert judge('"river Aare flows" ' * 101 + "[a-1]\nAnswer: Bern").score == 0
    assert judge('"river Aare flows" ' * 100 + "[a-1]\nAnswer: Bern").score == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "[" * n,
        lambda n: "]" * n,
        lambda n: '"' * n,
        lambda n: "“" * n,
        lambda n: "Answer:\n" * (n // 8),
        lambda n: " " * n + "x",
        lambda n: "*" * n,
        lambda n: "[a-1]" * (n // 5),
        lambda n: '"a b c" [a-1] ' * (n // 14),
        lambda n: "\n" * n + "x",
        lambda n: "[a," * (n // 3),
        lambda n: "." * n,
        lambda n: "…" * (n // 3),
        lambda n: "# " * (n // 2) + "answer",
        lambda n: "[. " * (n // 3),
    ],
)
def test_time_is_linear_in_the_answer(make):
    def best(n):
        times = []
        for _ in range(3):
            start = time.process_time()
            assert judge(make(n)).score == 0
            times.append(time.process_time() - start)
        return min(times)

    assert best(19_200) / max(best(2_400), 2e-4) < 32  # 8 where the time is linear, 64 where it is quadratic
