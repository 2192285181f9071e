"""The task `structured_other`: what each format's documents mean as values of JSON, and what is refused."""

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.documents import parse_document
from rewards.verifiers.json_text import Malformed, same_json

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"), max_size=8
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)


def judge(response, reference, **params):
    return load_tasks()["structured_other"].function(
        RewardRequest(task="structured_other", response=response, reference=reference, params=params)
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: 0o17", {"a": 15}),
        ("a: 017", {"a": 17}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: .5", {"a": 0.5}),
        ("a: yes", {"a": "yes"}),
        ("a: no", {"a": "no"}),
        ("a: True", {"a": True}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 'null'", {"a": "null"}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("1: a", {"1": "a"}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: !!str 5", {"a": "5"}),
        ("a: !!int '5'", {"a": 5}),
        ("a: !!float 5", {"a": 5.0}),
        ("a: ! 5", {"a": "5"}),
        ("- 1\n- [2, {b: 3}]", [1, [2, {"b": 3}]]),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: >\n  x\n  y\n", {"a": "x y\n"}),
        ("<<: 1", {"<<": 1}),
        ("--- 5\n...", 5),
        ("# c\na: b # d", {"a": "b"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ('{"a": [1, null]}', {"a": [1, None]}),
    ],
)
def test_yaml(text, value):
    assert same_json(parse_document(text, "yaml"), value)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "{a: 1, a: 2}",
        "1: a\n'1': b",
        "a: .inf",
        "a: 1e999",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !x 5",
        "a: !!int x",
        "[a]: 1",
        "a: *b",
        "a: &a [*a]",
        "a: [",
        "a: b: c",
        "\t- a",
        "a: 1\n---\nb: 2",
        "a: !!python/name:os.system",
        "- &a " + "9" * 2_000,
        "a: !!float " + "9" * 999,
        "- &a [1]\n" + "".join("- &a [*a]\n" for _ in range(40)),
        "? [a]\n: 1",
        "!!omap [a: 1]",
        "a: '\\x00\x00'",
        "",
    ],
)
def test_yaml_refuses(text):
    with pytest.raises(Malformed):
        parse_document(text, "yaml")


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_yaml_reads_what_pyyaml_writes_of_json(value):
    assert same_json(parse_document(json.dumps(value, ensure_ascii=False), "yaml"), value)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab1:-[]{},&*!'\"|>#? \n", max_size=40))
def test_yaml_agrees_with_pyyaml_on_what_it_takes(text):
    try:
        value = parse_document(text, "yaml")
    except Malformed:
        return
    wanted = yaml.load(text, Loader=yaml.CBaseLoader)  # all scalars as texts

    def texts(value):
        if isinstance(value, dict):
            return {key: texts(item) for key, item in value.items()}
        if isinstance(value, list):
            return [texts(item) for item in value]
        return value if isinstance(value, str) else None

    def shape(value, like):
        """The value where like has a text, nothing where it was read as a number or so."""
        if isinstance(like, dict):
            return {key: shape(value[key], item) for key, item in like.items()}
        if isinstance(like, list):
            return [shape(each, item) for each, item in zip(value, like, strict=True)]
        return value if isinstance(like, str) else None

    assert shape(wanted, value) == texts(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = 1", {"a": 1}),
        ("a.b = 'x'", {"a": {"b": "x"}}),
        (
            "d = 2024-01-01\nt = 07:32:00\nz = 1979-05-27T07:32:00Z",
            {"d": "2024-01-01", "t": "07:32:00", "z": "1979-05-27T07:32:00+00:00"},
        ),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", {"a": [{"b": 1}, {"b": 2}]}),
        ("a = [" + "1.5, " * 500 + "]", {"a": [1.5] * 500}),
        ('a = "' + "." * 100 + '"', {"a": "." * 100}),
        ("# " + "." * 100 + "\na = '''" + "." * 100 + "'''", {"a": "." * 100}),
        ('a = """x"""', {"a": "x"}),
        ('a = """x"."y"""', {"a": 'x"."y'}),
    ],
)
def test_toml(text, value):
    assert same_json(parse_document(text, "toml"), value)


@pytest.mark.parametrize(
    "text",
    [
        "a = 1\na = 2",
        "a = inf",
        "a = 1e999",
        "a",
        "a = ",
        "[a]\n[a]",
        ".".join("a" * 40) + " = 1",
        "[" + ".".join('"a"' for _ in range(40)) + "]",
        "a = " + "{b = " * 50 + "1" + "}" * 50,
        "a = " + "9" * 5_000,
        "a = 0x" + "f" * 5_000,
        "a = 0o9",
    ],
)
def test_toml_refuses(text):
    with pytest.raises(Malformed):
        parse_document(text, "toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<a/>", {"a": ""}),
        ("<a> x </a>", {"a": "x"}),
        ("<a><b>1</b><b>2</b><c/></a>", {"a": {"b": ["1", "2"], "c": ""}}),
        ('<a x="1">t<b/>u</a>', {"a": {"@x": "1", "b": "", "#text": "t u"}}),
        ('<?xml version="1.0" encoding="utf-16"?><a>é</a>', {"a": "é"}),
        ('<a xmlns="urn:x"><b/></a>', {"{urn:x}a": {"{urn:x}b": ""}}),
        ("<a><!-- c --><![CDATA[<x>]]></a>", {"a": "<x>"}),
        ("<a>&lt;&#65;</a>", {"a": "<A"}),
    ],
)
def test_xml(text, value):
    assert same_json(parse_document(text, "xml"), value)


@pytest.mark.parametrize(
    "text",
    [
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "x<a/>",
        "<a x='1' x='2'/>",
        "<a>&b;</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a SYSTEM 'http://x/y'><a/>",
        "<a>\x00</a>",
        "<a>" * 40 + "</a>" * 40,
        "<a>" * 10_000,
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><a/>',
        "<1/>",
    ],
)
def test_xml_refuses(text):
    with pytest.raises(Malformed):
        parse_document(text, "xml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a,b\n1,2", [{"a": 1, "b": 2}]),
        ("a\r\n x\r\n", [{"a": " x"}]),
        ('a,b\n"x,""y""\n",', [{"a": 'x,"y"\n', "b": None}]),
        ("a,b", []),
        (
            "a\ntrue\nTrue\n007\n-1.5e3\n1_0\n\uff11",
            [{"a": True}, {"a": "True"}, {"a": "007"}, {"a": -1500.0}, {"a": "1_0"}, {"a": "\uff11"}],
        ),
    ],
)
def test_csv(text, value):
    assert same_json(parse_document(text, "csv", infer_types=True), value)


@pytest.mark.parametrize(
    "text", ["a,a\n1,2", "a,\n1,2", "a,b\n1", "a,b\n1,2,3", 'a\n"x', 'a\n"x"y', "a,a", "\na\n1", "a\n\n1"]
)
def test_csv_refuses(text):
    with pytest.raises(Malformed):
        parse_document(text, "csv")


@pytest.mark.parametrize("language", [None, "json", "ini", 5])
def test_the_format_must_be_known(language):
    with pytest.raises(ValueError, match=r"params\.format"):
        judge("a: 1", {"type": "object"}, format=language)


@pytest.mark.parametrize(
    ("language", "make"),
    [
        ("yaml", lambda n: "[" * n),
        ("yaml", lambda n: "{a: " * n),
        ("yaml", lambda n: "- " * n),
        ("yaml", lambda n: "a: 1\n" + "? " * n),
        ("yaml", lambda n: "'" * n),
        ("yaml", lambda n: "- x\n" * (n // 4)),
        ("yaml", lambda n: "&a " * (n // 3)),
        ("yaml", lambda n: "- *a\n" * (n // 5)),
        ("yaml", lambda n: "[" + "a, " * (n // 3) + "]"),
        ("yaml", lambda n: "".join(f"k{i}: 1\n" for i in range(n // 8))),
        ("yaml", lambda n: "a" * n + ": 1"),
        ("yaml", lambda n: "%" * n),
        ("yaml", lambda n: "- |\n" * (n // 4)),
        ("toml", lambda n: "a" + ".a" * (n // 2) + "=1"),
        ("toml", lambda n: "[" * n),
        ("toml", lambda n: '"' * n),
        ("toml", lambda n: "'" * n),
        ("toml", lambda n: "a = [" + "1," * (n // 2) + "]"),
        ("toml", lambda n: "".join(f"[a{i}]\n" for i in range(n // 8))),
        ("toml", lambda n: "".join(f"a.b{i} = 1\n" for i in range(n // 10))),
        ("toml", lambda n: 'a = """' + "\\n" * (n // 2)),
        ("toml", lambda n: "[[a]]\n" * (n // 6)),
        ("toml", lambda n: '"\\' * (n // 2)),
        ("toml", lambda n: "a = " + "{a = " * (n // 5)),
        ("xml", lambda n: "<a>" * (n // 3)),
        ("xml", lambda n: "<a>" + "<b/>" * (n // 4) + "</a>"),
        ("xml", lambda n: "<a " + " ".join(f"x{i}=''" for i in range(n // 9)) + "/>"),
        ("xml", lambda n: "<" * n),
        ("xml", lambda n: "<a>" + "&lt;" * (n // 4) + "</a>"),
        ("xml", lambda n: "<a>" + "]]" * (n // 2)),
        ("xml", lambda n: "<!--" * (n // 4)),
        ("csv", lambda n: "a\n" + "1\n" * (n // 2)),
        ("csv", lambda n: '"' * n),
        ("csv", lambda n: ",".join(f"c{i}" for i in range(n // 6))),
        ("csv", lambda n: "a" * n),
    ],
)
def test_time_is_linear_in_the_answer(language, make):
    def best(n):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            assert judge(make(n), {"type": ["object", "array"]}, format=language).status == "ok"
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(64_000) / max(best(8_000), 3e-4) < 32  # 8 where the time is linear, 64 where it is quadratic
