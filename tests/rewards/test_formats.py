"""Thinking format, patterns and templates, lengths and turns: what their cases do not say."""

# ruff: noqa: E501 (tables)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.conversation import assistant_turns, message_text
from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.patterns import UnreadablePattern, match_pattern, match_template
from rewards.verifiers.think_format import asked_mode, format_fault
from tests.rewards.timing import assert_linear


def judge(task, response, reference=None, question="", **params):
    request = RewardRequest(task=task, response=response, reference=reference, question=question, params=params)
    return load_tasks()[task].function(request)


@pytest.mark.parametrize(
    ("texts", "mode"),
    [
        ([], "think"), (["Hi"], "think"), (["Hi /no_think"], "no_think"), (["/no_think", "Hi"], "no_think"),
        (["/no_think", "/think"], "think"), (["/think /no_think"], "no_think"), (["Hi./no_think"], "no_think"),
        (["a/no_think"], "think"), (["/no_think/a"], "think"), (["/no_thinking"], "think"), (["//no_think"], "think"),
        (["/no_think\n/think?"], "think"),
    ],
)  # fmt: skip
def test_the_last_flag_wins(texts, mode):
    assert asked_mode([{"role": "user", "content": text} for text in texts]) == mode


def test_flags_are_of_users_and_system():
    messages = [{"role": role, "content": "/no_think"} for role in ("assistant", "tool")]
    assert asked_mode(messages) == "think"
    assert asked_mode([{"role": "system", "content": "/no_think"}, *messages]) == "no_think"
    assert asked_mode([{"role": "user", "content": [{"type": "text", "text": "/no_think"}, {"type": "image"}]}]) == (
        "no_think"
    )


@given(st.text(), st.text())
def test_one_block_with_words_is_right_whatever_is_in_it(thinking, answer):
    text = f"<think>w {thinking}</think>w {answer}"
    if not any(sign in (thinking + answer).lower() for sign in "<>thinkTHINK"):
        assert format_fault(text, "think") is None
    assert format_fault(text, "no_think") is not None


@pytest.mark.parametrize("unit", ["<think>", "<", "< ", "</think>", "/no_think ", "\u200b", "<\u200b"])
def test_thinking_is_judged_in_linear_time(unit):
    assert_linear(lambda text: format_fault(text, "think"), lambda length: unit * (length // len(unit)))
    assert_linear(lambda text: asked_mode([{"role": "user", "content": text}]), lambda n: unit * (n // len(unit)))


@pytest.mark.parametrize("reference", ["maybe", 7, ["think"], True])
def test_an_unknown_mode_is_unscorable(reference):
    assert judge("think_format", "<think>a</think>b", reference).status == "unscorable"


def test_the_reference_may_name_the_mode():
    assert judge("think_format", "<think></think>b", "no_think", "Hi /think").score == 1


@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("think_format", {"default": "maybe"}), ("think_format", {"opened_by": "me"}), ("think_format", {"think_block": "ajar"}), ("length_control", {"unit": "m"}),
        ("answer_format_regex_template", {"scope": "thinking"}), ("multi_turn_if", {"cumulative": "yes"}),
        ("multi_turn_if", {"mode": "free"}), ("ifbench_other_constraints", {"reward": "best"}),
    ],
)  # fmt: skip
def test_unknown_params_are_errors(task, params):
    with pytest.raises(ValueError, match=rf"params\.{next(iter(params))}"):
        judge(task, "a", None, **params)


@pytest.mark.parametrize(
    ("template", "text", "fields"),
    [
        ("A: {a}", "A: b c", {"a": "b c"}), ("A: {a}", "A: b\nc", None), ("A: {a:text}", "A: b\nc", {"a": "b\nc"}),
        ("{n:integer}", "-12", {"n": "-12"}), ("{n:integer}", "1.0", None), ("{n:number}", "1.5", {"n": "1.5"}),
        ("{n:number}", "1.", None), ("{w:word}", "a b", None), ("{l:letter}", "A", {"l": "A"}), ("{l:letter}", "\u0410", None),
        ("({a}) [b] .* {a:word}", "(x) [b] .* x", {"a": "x"}), ("{{{a}}}", "{x}", {"a": "x"}), ("a\n{b}", "a\nc", {"b": "c"}),
        ("{a}-{b}", "x-y-z", {"a": "x-y", "b": "z"}), ("é {a}", "é ü", {"a": "ü"}), ("{a}", "\u200b", None), ("{a}", "", None),
    ],
)  # fmt: skip
def test_templates(template, text, fields):
    assert match_template(template, text) == fields


@given(st.dictionaries(st.sampled_from("abc"), st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), min_size=3))
def test_a_filled_template_matches(fields):
    assert match_template("{a}|{b} {{x}}\n[{c}]", "{a}|{b} {{x}}\n[{c}]".format(**fields)) == fields


@pytest.mark.parametrize("pattern", ["(", "a{99999}", r"(a)\1", "(?=a)", "a" * 10_001, "[", "*"])
def test_patterns_that_cannot_be_used_are_unscorable(pattern):
    with pytest.raises(UnreadablePattern):
        match_pattern(pattern, "a")
    assert judge("answer_format_regex_template", "", {"regex": pattern}).status == "unscorable"


@pytest.mark.parametrize("template", ["", "no field", "{", "}", "{a", "a}", "{a:date}", "{1a}", "{}", "{a b}"])
def test_templates_that_cannot_be_used_are_unscorable(template):
    assert judge("answer_format_regex_template", "a", {"template": template}).status == "unscorable"


@pytest.mark.parametrize("reference", [None, 7, {}, [], {"regex": 7}, {"regex": "a", "template": "b"}, {"form": "a"}])
def test_references_without_a_form_are_unscorable(reference):
    assert judge("answer_format_regex_template", "a", reference).status == "unscorable"


def test_lone_surrogates_do_not_crash():
    assert match_pattern("a.", "a\udc80") is not None


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+$b", "(.*)*x", "(a?){50}a{50}b"])
def test_patterns_are_matched_in_linear_time(pattern):
    assert_linear(lambda text: match_pattern(pattern, text), lambda length: "a" * length)


@pytest.mark.parametrize(
    "reference",
    [None, 0, -1, "10", True, 1.5, float("nan"), [10], {}, {"min": None}, {"max": 0}, {"min": 5, "max": 4}, {"target": 5},
     1_000_000],
)  # fmt: skip
def test_targets_that_are_no_lengths_are_unscorable(reference):
    assert judge("length_control", "a", reference).status == "unscorable"


def test_a_copy_does_not_buy_length():
    text = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100))
    assert judge("length_control", text, 100).score == 1
    assert judge("length_control", f"{text} {text}", 200).score < 0.8
    assert judge("length_control", " ".join([text] * 10), 1_000).score < 0.2


_NO_COMMA = [{"id": "punctuation:no_comma"}]


@pytest.mark.parametrize(
    "reference",
    [None, [], {}, "x", [[]], [[], _NO_COMMA], [_NO_COMMA, [{"id": "unknown"}]], [_NO_COMMA] * 51, [7]],
)
def test_turns_that_cannot_be_read_are_unscorable(reference):
    assert judge("multi_turn_if", "a", reference).status == "unscorable"


def test_a_question_with_more_turns_than_the_reference_is_unscorable():
    question = [{"role": "user", "content": "a"}] * 3
    assert judge("multi_turn_if", "a", [_NO_COMMA], question).status == "unscorable"


def test_turns_are_what_users_part():
    messages = [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "t"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "u"},
    ]
    assert assistant_turns(messages) == ["a", "b", ""]
    assert message_text({"content": [{"text": "a"}, "b", {"image": 1}, 7]}) == "a\nb"
