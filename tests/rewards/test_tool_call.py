"""The task `tool_call`: reading calls, what a reference accepts, and matching."""

import itertools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.tasks.tool_call import respond
from rewards.types import RewardRequest
from rewards.verifiers.json_text import Malformed
from rewards.verifiers.tool_calls import (
    Call,
    agreement,
    calls_in_messages,
    calls_in_text,
    read_expected,
)


def block(name, **arguments):
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def judge(response, reference, **params):
    return load_tasks()["tool_call"].function(
        RewardRequest(task="tool_call", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", []),
        ("no call", []),
        (block("f"), [Call("f", {})]),
        ("a " + block("f", x=1) + " b " + block("g", y=[2]), [Call("f", {"x": 1}), Call("g", {"y": [2]})]),
        (
            '<tool_call>\n\n{"arguments": {"a": {"b": null}}, "name": "f"}\n</tool_call>',
            [Call("f", {"a": {"b": None}})],
        ),
        ("<TOOL_CALL>{}</TOOL_CALL> <tool-call>", []),
    ],
)
def test_text(text, calls):
    assert calls_in_text(text) == calls


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>[]</tool_call>",
        '<tool_call>{"name": "f"}</tool_call>',
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {}, "id": 1}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
        '<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>',
        "<tool_call>```json\n{}\n```</tool_call>",
        "<tool_call>" + block("f"),
        block("f") + "</tool_call>",
        block("f", x="</tool_call>"),
        block("f") + block("f").removesuffix("</tool_call>"),
        block("f") + "<tool_response>1</tool_response>",
        "<tool_response>1",
        block("f") * 65,
    ],
)
def test_malformed_text(text):
    with pytest.raises(Malformed):
        calls_in_text(text)
    assert judge(text, []).score == 0


def assistant(**fields):
    return {"role": "assistant", "content": None, **fields}


def structured(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_messages():
    messages = [
        {"role": "user", "content": block("no")},
        assistant(content="<think>" + block("no") + "</think>" + block("f", x=1)),
        {"role": "tool", "content": block("no")},
        assistant(tool_calls=[structured("g", '{"y": 2}'), structured("h", {"z": 3})]),
        assistant(content=[{"type": "text", "text": "Do"}, {"type": "text", "text": "ne."}], tool_calls=None),
    ]
    assert calls_in_messages(messages) == ([Call("f", {"x": 1}), Call("g", {"y": 2}), Call("h", {"z": 3})], "Done.")


@pytest.mark.parametrize("arguments", ["", "[]", "{", '"{}"', "null", '{"a": 1, "a": 2}', None, 5])
def test_arguments_that_are_no_object_are_wrong(arguments):
    assert judge([assistant(tool_calls=[structured("f", arguments)])], [{"name": "f"}]).score == 0


@pytest.mark.parametrize("fields", [{"tool_calls": {}}, {"tool_calls": ["f"]}, {"tool_calls": [{}]}, {"content": 5}])
def test_messages_that_no_runner_writes_are_errors(fields):
    with pytest.raises(ValueError, match="response:"):
        judge([assistant(**fields)], [])


def test_a_message_whose_thinking_never_ends():
    assert judge([assistant(content="<think>", tool_calls=[structured("f", "{}")])], [{"name": "f"}]).score == 0


@pytest.mark.parametrize(
    ("arguments", "given", "right"),
    [
        ({"x": 1}, {"x": 1}, True),
        ({"x": 1}, {"x": 1.0}, True),
        ({"x": 1}, {"x": "1"}, False),
        ({"x": 1}, {"x": True}, False),
        ({"x": True}, {"x": 1}, False),
        ({"x": "true"}, {"x": True}, False),
        ({"x": None}, {}, False),
        ({}, {"x": None}, False),
        ({"x": [1, 2]}, {"x": [2, 1]}, False),
        ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}, True),
        ({"x": {"any_of": [1, "one"]}}, {"x": "one"}, True),
        ({"x": {"any_of": [1, "one"]}}, {"x": [1, "one"]}, False),
        ({"x": {"any_of": [{"any_of": 1}]}}, {"x": {"any_of": 1}}, True),
        ({"x": "Paris"}, {"x": "paris"}, False),
        ({"x": "Paris"}, {"x": "P\u200baris"}, False),
        ({"x": 0.1}, {"x": 0.1}, True),
        ({"x": 2**60}, {"x": 2**60 + 1}, False),
    ],
)
def test_arguments(arguments, given, right):
    reference = [{"name": "f", "arguments": arguments}]
    assert judge(block("f", **given), reference).score == float(right)


def test_loose_texts():
    reference = [{"name": "f", "arguments": {"x": ["New York", {"a": "B"}], "y": 1}}]
    answer = block("f", x=["new  york ", {"a": "b"}], y=1)
    assert judge(answer, reference).score == 0
    assert judge(answer, reference, texts="loose").score == 1
    assert judge(block("f", x=["newyork", {"a": "b"}], y=1), reference, texts="loose").score == 0
    assert judge(block("f", x=["new york", {"a": "b"}], y="1"), reference, texts="loose").score == 0


def test_optional_arguments():
    reference = [{"name": "f", "arguments": {"x": 1, "y": 2}, "optional": ["y"]}]
    assert [judge(block("f", **given), reference).score for given in ({"x": 1}, {"x": 1, "y": 2})] == [1, 1]
    assert [judge(block("f", **given), reference).score for given in ({"y": 2}, {"x": 1, "y": 3})] == [0, 0]


@pytest.mark.parametrize(
    "reference",
    [
        None,
        5,
        "{",
        [5],
        [{}],
        [{"name": ""}],
        [{"name": "f", "arguments": []}],
        [{"name": "f", "arguments": "{"}],
        [{"name": "f", "argument": {}}],
        [{"name": "f", "arguments": {}, "optional": ["x"]}],
        [{"name": "f", "arguments": {"x": 1}, "optional": "x"}],
        [{"name": "f", "arguments": {"x": {"any_of": []}}}],
        [{"name": "f"}] * 65,
    ],
)
def test_references_that_cannot_be_read(reference):
    result = judge(block("f"), reference)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    "reference",
    [
        [{"name": "f", "arguments": {"x": 1}}],
        {"name": "f", "arguments": {"x": 1}},
        '[{"name": "f", "arguments": {"x": 1}}]',
        [{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    ],
)
def test_references_are_read(reference):
    assert judge(block("f", x=1), reference).score == 1
    assert judge(respond(reference), reference).score == 1


def test_a_reference_is_accepted_by_itself():
    for reference in ([], [{"name": "f", "arguments": {"x": {"any_of": ["a", "b"]}}}, {"name": "g", "arguments": {}}]):
        assert judge(respond(reference), reference).score == 1


def test_components():
    reference = [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}]
    result = judge(block("f", x=2) + block("g"), reference, score="fraction")
    assert (result.score, result.components) == (0.5, {"intent": 1.0, "format": 1.0, "params": 0.5})
    assert judge("<tool_call>", reference).components == {"intent": 0.0, "format": 0.0, "params": 0.0}
    assert judge("Hello", []).components == {"intent": 1.0, "format": 1.0, "params": 1.0}
    stuffed = judge("".join(block(name) for name in "ghijklmn"), reference, score="fraction")
    assert stuffed.score == 1 / 8


@pytest.mark.parametrize("params", [{"order": "some"}, {"score": "half"}, {"texts": True}])
def test_unknown_params_are_errors(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge(block("f"), [], **params)


ARGUMENT = st.sampled_from([1, 2, 3])


@settings(max_examples=150, deadline=None)
@given(st.lists(ARGUMENT, max_size=4), st.lists(st.lists(ARGUMENT, min_size=1, max_size=3), max_size=4))
def test_the_matching_is_a_largest_one(made, accepted):
    calls = [Call("f", {"x": value}) for value in made]
    expected = read_expected([{"name": "f", "arguments": {"x": {"any_of": values}}} for values in accepted])
    size = max(len(made), len(accepted))
    padded = made + [None] * (size - len(made))
    slots = accepted + [[]] * (size - len(accepted))
    best = max(
        sum(value in values for value, values in zip(order, slots, strict=True))
        for order in itertools.permutations(padded)
    )
    assert agreement(calls, expected, ordered=False, loose=False).num_right == best


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='<tool_call>/{}"name:rguments,1 f[]', max_size=80))
def test_any_text_is_judged(text):
    assert judge(text, [{"name": "f"}]).status == "ok"


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "<tool_call>" * (n // 11),
        lambda n: "</tool_call>" * (n // 12),
        lambda n: "<tool_call></tool_call>" * (n // 23),
        lambda n: "<tool_call>" + "[" * n,
        lambda n: "<think>" * (n // 7),
        lambda n: "</think>" * (n // 8),
        lambda n: block("f", x=["a"] * (n // 6)),
        lambda n: block("f", **{f"a{i}": i for i in range(n // 14)}),
    ],
)
def test_time_is_linear_in_the_answer(make):
    def best(n):
        times = []
        for _ in range(3):
            start = time.process_time()
            judge(make(n), [{"name": "f", "arguments": {"x": ["a"]}}])
            times.append(time.process_time() - start)
        return min(times)

    assert best(64_000) / max(best(8_000), 2e-4) < 32  # 8 where the time is linear, 64 where it is quadratic


def test_the_worst_of_matchings_is_bounded():
    reference = [{"name": "f", "arguments": {"x": {"any_of": list(range(64))}}} for _ in range(64)]
    assert judge("".join(block("f", x=i) for i in range(64)), reference).score == 1
