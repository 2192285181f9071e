"""Magnitudes: the value that Math-Verify's grammar has, or none."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.verifiers.expressions import read_expression
from rewards.verifiers.magnitude import magnitude, of_other_size

numbers = st.integers(0, 99).map(str) | st.sampled_from(["0.5", "12.25"])


def extend(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: f"\\frac{{{p[0]}}}{{{p[1]}}}"),
        inner.map(lambda x: f"\\sqrt{{{x}}}"),
        inner.map(lambda x: f"\\sqrt[3]{{{x}}}"),
        inner.map(lambda x: f"({x})"),
        inner.map(lambda x: f"({x})^{{2}}"),
        inner.map(lambda x: f"-{x}" if x[0] != "-" else x),
        pairs.map(lambda p: f"({p[0]}) \\cdot ({p[1]})"),
        pairs.map(lambda p: f"({p[0]}) + ({p[1]})"),
        pairs.map(lambda p: f"({p[0]}) - ({p[1]})"),
        inner.map(lambda x: f"7\\sqrt{{{x}}}"),
        inner.map(lambda x: f"3({x})"),
        inner.map(lambda x: f"\\pi({x})"),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(numbers, extend, max_leaves=5))
def test_where_there_is_a_magnitude_it_is_the_grammars_value(text):
    value = magnitude(text)
    if value is None:
        return
    read = next(item for item in read_expression(text) if not isinstance(item, str))
    assert complex(read.evalf(20)) == pytest.approx(value, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7 \\sqrt 2", 7 * math.sqrt(2)), ("-2^2", -4), ("2^{-1}", 0.5), ("\\frac{1}{4}\\sqrt{3}", math.sqrt(3) / 4),
        ("\\dfrac{\\sqrt{5}-1}{2}", (math.sqrt(5) - 1) / 2), ("3/4", 0.75), ("\\sqrt[3]{8}", 2), ("2\\pi", 2 * math.pi),
        ("\\left( 1 + 2 \\right) \\times 3", 9), ("3/4 + 1", 1.75), ("\\frac{3}{4}", 0.75),
    ],
)  # fmt: skip
def test_values(text, value):
    assert magnitude(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "2 3", "2\\frac{1}{2}", "1/2\\pi", "1/2/3", "\\sqrt 23", "\\frac12", "2^10", "2^2^2", "2^{99}",
        "\\sqrt{-1}", "3(1)", "\\pi(2)",
        "1/0", "0^{-1}", "1,234", "50\\%", "5\\text{ m}", "(1, 2)", "(1", "1)", "1 +", "+-1", "--1", "(2)3", "\\pi 3",
        "\\pir", "1" * 300, "(" * 150 + "1" + ")" * 150, "(-8)^{0.5}", "\\sqrt[0]{2}", "1.5.2", "²", "٣",
    ],
)  # fmt: skip
def test_no_single_reading_no_magnitude(text):
    assert magnitude(text) is None


def test_only_constants_of_clearly_other_size_differ():
    assert of_other_size("8\\sqrt{2}", "7\\sqrt{2}")
    assert of_other_size("\\sqrt{2}", "-\\sqrt{2}")
    assert of_other_size("\\sqrt{2}", "0")
    assert not of_other_size("\\sqrt{8}", "2\\sqrt{2}")
    assert not of_other_size("1.4142136", "\\sqrt{2}")
    assert not of_other_size("x", "2")
