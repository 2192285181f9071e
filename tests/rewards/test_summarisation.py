"""The task `summarisation`: scores as rouge-score gives them, guards, references and params."""

import time

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.overlap import tokens
from rewards.verifiers.summary import is_keyword_list, length_factor

TASK = load_tasks()["summarisation"]
SOURCE, REFERENCE = TASK.example.question, TASK.example.reference
SUMMARY = TASK.example.response
CHINESE = (
    "市议会周二晚上决定，河上的旧石桥将至少关闭六个月。工程师在三月份的检查中发现，四个桥拱中有两个出现了很深的裂缝。"
    "修缮费用大约为三百万欧元，其中大部分预计由州政府承担。桥边的店主们反对这一决定，因为他们担心顾客不再光顾。"
)
CHINESE_SUMMARY = "由于桥拱出现裂缝，旧石桥要关闭半年以上，三百万欧元的费用主要由州里支付，店主表示担忧。"


def judge(response, reference=REFERENCE, question=SOURCE, **params):
    request = RewardRequest(
        task="summarisation", question=question, response=response, reference=reference, params=params
    )
    return TASK.function(request)


@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL"])
def test_scores_are_those_of_rouge_score(metric):
    from rouge_score.rouge_scorer import RougeScorer

    result = judge(SUMMARY, metric=metric)
    assert result.score == pytest.approx(RougeScorer([metric]).score(REFERENCE, SUMMARY)[metric].fmeasure)
    assert 0.3 < result.score < 1


def test_other_scripts_count():
    assert judge(CHINESE_SUMMARY, CHINESE_SUMMARY, CHINESE).score == 1
    assert judge(CHINESE, CHINESE_SUMMARY, CHINESE, words=[1, 1000]).score == 0
    assert (
        judge("旧石桥，裂缝，六个月，三百万，欧元，州政府，店主，顾客，关闭，修缮", CHINESE_SUMMARY, CHINESE).score == 0
    )


def test_an_extractive_reference_allows_what_it_does_itself():
    extract = SOURCE.split("\n\n")[1].split(". ")[2] + "."
    assert judge(extract, extract).score == 1
    assert judge(extract).score == 0


def test_the_score_falls_outside_the_band():
    assert judge(SUMMARY, words=[10, 100]).score == judge(SUMMARY, words=[30, 40]).score > 0
    long, far = judge(SUMMARY, words=[10, 30]), judge(SUMMARY, words=[5, 15])
    assert 0 < long.score < judge(SUMMARY).score
    assert far.score == 0
    assert [length_factor(n, 10, 20) for n in (0, 5, 8, 10, 20, 25, 40)] == [0, 0, 0.8, 1, 1, 0.8, 0]


def test_rouge_below_the_floor_is_0():
    rouge = judge(SUMMARY).components["rouge"]
    assert judge(SUMMARY, floor=rouge + 0.01).score == 0
    assert judge(SUMMARY, floor=rouge - 0.01).score > 0


@pytest.mark.parametrize(
    "text", [SUMMARY, REFERENCE, "It rained all day, so the match was called off and we went home."]
)
def test_summaries_are_no_keyword_lists(text):
    assert not is_keyword_list(text, tokens(text), [tokens(REFERENCE)])


@pytest.mark.parametrize(
    "text",
    [
        "bridge; cracks; ferry; shops; council; euros; repair; state",
        "bridge cracks ferry shops council euros repair state engineers months",
        "- bridge cracks\n- ferry every ten\n- shops fear\n- council vote\n- state pays",
        "bridge | cracks | ferry | shops | council | euros | repair | state",
    ],
)
def test_keyword_lists_are(text):
    assert is_keyword_list(text, tokens(text), [tokens(REFERENCE)])


@pytest.mark.parametrize("reference", [None, "", " ", 7, [], [REFERENCE, ""], [REFERENCE, None], {"a": 1}, "..."])
def test_references_that_cannot_be_read_are_unscorable(reference):
    assert judge(SUMMARY, reference).status == "unscorable"


@pytest.mark.parametrize(
    "params",
    [{"metric": "rouge9"}, {"metric": []}, {"words": 7}, {"words": [3, 2]}, {"words": [1, "2"]}, {"floor": "x"},
     {"floor": -1}, {"max_copied_run": None}, {"min_novelty": True}, {"source": ["x"]}],
)  # fmt: skip
def test_params_that_cannot_be_used_are_named(params):
    with pytest.raises(ValueError, match=f"params.{next(iter(params))}"):
        judge(SUMMARY, **params)


@pytest.mark.parametrize("piece", ["a", "a b ", "字", ". ", "\u0301", "\u200b", "The old bridge. "])
def test_time_is_linear_in_summary_and_source(piece):
    def seconds(size):
        text = (piece * size)[:size]
        start = time.process_time()
        judge(text, REFERENCE, question=text * 4, words=[0, 10**6])
        return time.process_time() - start

    seconds(100)
    small, large = min(seconds(2_000) for _ in range(2)), min(seconds(16_000) for _ in range(2))
    assert large < 30 * small + 0.3
