"""Strict documents: what parses, what is the same, which schemas can be used, and how long it takes."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.documents import parse_document, unfenced
from rewards.verifiers.json_text import Malformed, parse_json, same_json
from rewards.verifiers.schemas import UnusableSchema, compile_pattern, first_error, read_schema

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def judge(response, reference, task="json_schema", **params):
    return load_tasks()[task].function(RewardRequest(task=task, response=response, reference=reference, params=params))


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_json_writes_is_read_as_it_was(value):
    for indent in (None, 2):
        assert same_json(parse_json(json.dumps(value, indent=indent, ensure_ascii=bool(indent))), value)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='[]{}",:0123456789.eE-truefalsn \\u\n\x00é', max_size=60))
def test_any_text_is_a_value_or_malformed(text):
    try:
        value = parse_json(text)
    except Malformed:
        return
    assert same_json(json.loads(text), value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        '{"a":1,}',
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "-Infinity",
        "1e999",
        "'a'",
        '"\t"',
        '"\\x41"',
        "nul",
        "[1] 2",
        "// c\n1",
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        "{1:2}",
        '"\\ud800"',
        "\ufeff1",
        "\u00a01",
        "\uff11",
        "9" * 5_000,
        "[" * 33 + "]" * 33,
        '{"a":' * 40 + "1" + "}" * 40,
        "True",
        "None",
        '"' + "a" * 70_000,
    ],
)
def test_malformed(text):
    with pytest.raises(Malformed):
        parse_json(text)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (None, False, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1.0}, True),
        ({"a": [True]}, {"a": [1]}, False),
        ("a", "a", True),
        (2**60 + 1, float(2**60), False),
        ([], {}, False),
        ("", None, False),
    ],
)
def test_sameness(left, right, equal):
    assert same_json(left, right) is equal


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, "1", False),
        ({"multipleOf": 0.1}, 0.3, True),
        ({"multipleOf": 0.1}, 0.35, False),
        ({"multipleOf": 0.5}, 10**1200, True),
        ({"multipleOf": 3}, 1e308, False),
        ({"uniqueItems": True}, [1, True, "1", None], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": 1}, {"a": 1}], False),
        ({"uniqueItems": False}, [1, 1], True),
        ({"pattern": "^a+$"}, "aaa", True),
        ({"pattern": "^a+$"}, "aaa\n", False),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "^\\d+$"}, "\u0661", False),
        ({"pattern": "^\\u0041$"}, "A", True),
        ({"pattern": "^\\p{L}+$"}, "é", True),
        ({"pattern": "a"}, 5, True),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"x1": 1}, True),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"x1": "1"}, False),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"y": 1}, False),
        ({"additionalProperties": {"type": "string"}, "properties": {"a": True}}, {"a": 1, "b": "c"}, True),
        ({"additionalProperties": {"type": "string"}, "properties": {"a": True}}, {"a": 1, "b": 2}, False),
        ({"unevaluatedProperties": False, "properties": {"a": True}}, {"a": 1}, True),
        ({"unevaluatedProperties": False, "properties": {"a": True}}, {"b": 1}, False),
        ({"prefixItems": [{"type": "integer"}], "items": False}, [1], True),
        ({"prefixItems": [{"type": "integer"}], "items": False}, [1, 2], False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1.5, False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 3, False),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, False),
        ({"enum": [1, "a"]}, True, False),
        ({"const": {"$schema": "x"}}, {"$schema": "x"}, True),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "items": [{"type": "integer"}],
                "additionalItems": False,
            },
            [1, 2],
            False,
        ),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^a$"}, "a\n", False),
        ({"$id": "https://a.example/x", "$ref": "y", "$defs": {"y": {"$id": "y", "type": "integer"}}}, "1", False),
        ({"$ref": "#/parts/a", "parts": {"a": {"type": "integer"}}}, 1, True),
        ({"$anchor": "top", "items": {"$ref": "#top"}, "type": "array"}, [[[]]], True),
        ({"properties": {"$schema": {"type": "string"}, "$ref": {"type": "string"}}}, {"$ref": "#"}, True),
        ({"format": "date"}, "x", True),
    ],
)
def test_schemas(schema, value, valid):
    assert (first_error(read_schema(schema), value) is None) is valid


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {},
        [],
        "",
        5,
        {"type": "no such type"},
        {"pattern": "("},
        {"pattern": "(?=a)b"},
        {"pattern": "(a)\\1"},
        {"patternProperties": {"(?<!a)": {}}},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#/parts", "parts": [1]},
        {"$ref": "#/parts/a", "parts": {"a": {"pattern": 5}}},
        {"items": {"$ref": "other.json"}},
        {"$schema": "https://example.com/mine", "type": "object"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"},
        {"items": {"$schema": "http://json-schema.org/draft-07/schema#"}},
        {"anyOf": []},
        {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
    ],
)
def test_unusable_schemas(schema):
    with pytest.raises(UnusableSchema):
        read_schema(schema)
    result = judge("1", schema)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    "reference", ["{", '{"type": "object", "type": "array"}', {"schema": {"type": "string"}, "value": 1}]
)
def test_unusable_references(reference):
    assert judge("1", reference).status == "unscorable"


def test_a_schema_may_be_given_as_text():
    assert judge("1", '{"type": "integer"}').score == 1


def test_a_schema_without_end_is_ours():
    with pytest.raises(UnusableSchema, match="without end"):
        first_error(read_schema({"$ref": "#"}), 1)


def test_no_schema_is_fetched(monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert judge("{}", {"$ref": "http://json-schema.org/draft-07/schema"}).status == "unscorable"


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("time", "12:00:00Z", "12:00"),
        ("date-time", "2024-02-29T12:00:00.5+01:00", "2024-02-29 12:00:00"),
        ("email", "a@b.ch", "a@b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("uri", "https://a.b/c?d", "a b"),
        ("ipv4", "1.2.3.4", "1.2.3.256"),
        ("ipv6", "::1", "1.2.3.4"),
    ],
)
def test_formats(name, right, wrong):
    schema = {"format": name}
    assert judge(json.dumps(right), schema, assert_formats=True).score == 1
    assert judge(json.dumps(wrong), schema, assert_formats=True).score == 0
    assert judge(json.dumps(wrong), schema).score == 1
    assert judge("5", schema, assert_formats=True).score == 1


def test_an_unknown_format_is_unscorable_where_asserted():
    assert judge('"x"', {"format": "no-such"}, assert_formats=True).status == "unscorable"


@pytest.mark.parametrize(
    ("text", "policy", "document"),
    [
        ("1", "optional", "1"),
        ("```\n1\n```", "optional", "1"),
        ("~~~ JSON\n1\n~~~", "optional", "1"),
        ("````json\n1\n````", "required", "1"),
        ("```json\n1\n``` ", "optional", "1"),
        ("```json\n\n```", "optional", ""),
        ("1", "required", None),
        ("```\n1\n```", "forbidden", None),
        ("```json 1```", "optional", None),
        ("```json\n1", "optional", None),
        ("```yaml\n1\n```", "optional", None),
        ("```\n1\n```\n2", "optional", None),
        ("```\n1\n```\n```\n2\n```", "optional", None),
        ("```", "optional", None),
        ("````\n1\n```", "optional", None),
    ],
)
def test_fences(text, policy, document):
    if document is None:
        with pytest.raises(Malformed):
            unfenced(text, "json", policy)
    else:
        assert unfenced(text, "json", policy) == document


@pytest.mark.parametrize(
    ("name", "value"), [("fence", "maybe"), ("assert_formats", 1), ("delimiter", ",,"), ("infer_types", "yes")]
)
def test_unknown_params_are_errors(name, value):
    with pytest.raises(ValueError, match=rf"params\.{name}"):
        judge("1", {"type": "integer"}, **{name: value})


def test_patterns_take_linear_time():
    pattern = compile_pattern("^(a+)+$")
    assert ratio(lambda n: pattern.search("a" * n + "!"), 20_000) < 30


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "[" * n,
        lambda n: '"' * n,
        lambda n: '"\\' * n,
        lambda n: '{"a":1,' * n,
        lambda n: "[" + "1," * n + "1]",
        lambda n: "[" + '1,"a",[],{},' * (n // 12) + "1]",
        lambda n: "1" * n,
        lambda n: "\\" * n,
        lambda n: "```\n" * n,
        lambda n: "{" + ",".join(f'"{i}":{i}' for i in range(n // 14)) + "}",
    ],
)
def test_time_is_linear_in_the_answer(make):
    schema = {"uniqueItems": True, "additionalProperties": {"multipleOf": 0.5}}
    assert ratio(lambda n: judge(make(n), schema), 6_000) < 40


def ratio(run, size):
    """How many times longer eight times as much takes, the best of three each; 64 where the time is quadratic."""

    def best(n):
        times = []
        for _ in range(3):
            start = time.process_time()
            run(n)
            times.append(time.process_time() - start)
        return min(times)

    return best(8 * size) / max(best(size), 2e-4)


def test_huge_json_is_bounded():
    assert judge("[" + "1," * 500_000 + "1]", {"type": "array"}).score == 0


def test_parse_document_knows_json():
    assert parse_document('{"a": 1}', "json") == {"a": 1}
