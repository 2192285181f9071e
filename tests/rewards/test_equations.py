"""The task `math_equation_function`: relations, functions and antiderivatives."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.relations import read_side, same_expression_values


def judge(answer, reference, **params):
    task = "math_equation_function"
    request = RewardRequest(task=task, response=f"\\boxed{{{answer}}}", reference=reference, params=params)
    return load_tasks()[task].function(request)


RIGHT = [
    ("y=2x+1", "y=2x+1"), ("y-2x=1", "y=2x+1"), ("-3y=-6x-3", "y=2x+1"), ("2x+1", "y=2x+1"), ("2x+1=y", "y=2x+1"),
    ("y = 2x+1 = 1+2x", "y=2x+1"), ("x^2+y^2=1", "1-x^2=y^2"), ("\\frac{x^2}{4}+\\frac{y^2}{9}=1", "9x^2+4y^2=36"),
    ("(x-1)^2+y^2=4", "x^2-2x+y^2-3=0"), ("y=0.5x", "y=\\frac{x}{2}"), ("x+y+z=0", "z=-x-y"), ("x=3", "x=3"),
    ("y\\ge 2x", "2x\\le y"), ("-2y<-4x", "y>2x"), ("E=mc^2", "E=mc^2"), ("y=e^{-x^2}", "y=e^{-x^2}"),
    ("y=xe^x", "y = e^x x"),
    ("f(x)=x^2", "f(x)=x^2"), ("x^2", "f(x)=x^2"), ("y=x^2", "f(x)=x^2"), ("f(t)=t^2", "f(x)=x^2"),
    ("f=x^2", "f(x)=x^2"),
    ("f(x,y)=x-y", "f(x,y)=x-y"), ("f(y,x)=y-x", "f(x,y)=x-y"), ("f(a,b)=a-b", "f(x,y)=x-y"),
    ("f(x) = x\\cdot x = x^2", "f(x)=x^2"),
    ("f(x)=x^2", "x^2"), ("x^2-1=(x-1)(x+1)", "x^2-1"), ("2\\sin x\\cos x", "\\sin 2x"), ("1-\\sin^2 x", "\\cos^2 x"),
    ("\\sqrt{x^2}", "|x|"), ("\\frac{x^2-1}{x-1}", "\\frac{(x+1)(x-1)}{x-1}"), ("a_n = 2^n", "a_n = 2^n"),
    ("2^n", "a_{n} = 2^{n}"),
    ("f'(x) = 2x", "f'(x) = 2x"), ("f^{-1}(x)=x-1", "f^{-1}(x)=x-1"),
    ("x^2+C", "x^2+C"), ("x^2+c", "x^2+C"), ("x^2+C_1", "x^2+C"), ("x^2+2C+1", "x^2+C"), ("\\ln|x|+C", "\\ln|x|+C"),
    ("F(x)=x^2+C", "F(x)=x^2+C"), ("y = x^2 + C", "y=x^2+C"), ("-\\cos^2 x + C", "\\sin^2 x + C"),
    ("y=Ce^{x}", "y=Ce^x"),
    ("x^2", ["x^3", "x^2"]),
]  # fmt: skip

WRONG = [
    ("0=0", "y=2x+1"), ("y=y", "y=2x+1"), ("x=2y+1", "y=2x+1"), ("y=2x-1", "y=2x+1"), ("y^2=(2x+1)^2", "y=2x+1"),
    ("y=", "y=2x+1"),
    ("xy=2x^2+x", "y=2x+1"), ("\\frac{y}{x}=1", "y=x"), ("Y=2X+1", "y=2x+1"), ("y=2x+1+0.0000001", "y=2x+1"),
    ("y", "y=2x+1"),
    ("y=2x+1, y=3x", "y=2x+1"), ("y<2x+1", "y=2x+1"), ("y>2x", "y<2x"), ("y\\le 2x", "y<2x"), ("0<1", "y<2x"),
    ("y=2x", "y<2x"),
    ("1<y<2x", "y<2x"), ("y \\ne 2x", "y=2x"), ("y\\approx 2x", "y=2x"), ("y=\\pm 2x", "y=2x"), ("2y=2x+1", "y=2x+1"),
    ("g(x)=x^2", "f(x)=x^2"), ("f(x)=f(x)", "f(x)=x^2"), ("t^2", "f(x)=x^2"), ("f(x)=t^2", "f(x)=x^2"),
    ("f(x)=", "f(x)=x^2"),
    ("f(a)=ax", "f(x)=x^2"), ("f(y,x)=x-y", "f(x,y)=x-y"), ("f(x,y)=y-x", "f(x,y)=x-y"), ("f(x)=x-y", "f(x,y)=x-y"),
    ("f(x)=x^2=x^3", "f(x)=x^2"), ("x^3=x^2", "x^2"), ("x", "|x|"), ("X^2", "x^2"), ("x^2+10^{-12}", "x^2"),
    ("1", "x^0+0x+1"),
    ("\\ln x", "\\ln|x|"), ("\\log_{2} x", "\\ln x"), ("x'", "x"), ("f''(x) = 2x", "f'(x) = 2x"),
    ("x^2", "x^2+C"), ("x^2+1", "x^2+C"), ("x^2+C+D", "x^2+C"), ("x^2+x", "x^2+C"), ("Cx^2", "x^2+C"),
    ("C", "x^2+C"), ("x^3+C", "x^2+C"),
    ("x^2+C-C", "x^2+C"), ("x^2+xC", "x^2+C"), ("x^2+C", "x^2"), ("y=e^x+C", "y=Ce^x"), ("\\int 2x dx", "x^2+C"),
    ("2x+C", "x^2+C"),
    ("\\sum_{k=1}^n k", "\\frac{n(n+1)}{2}"), ("10^{-30}x", "10^{-31}x"),
    ("y=(x^{999})!", "y=x"), ("y=\\frac{1}{0}", "y=x"), ("\\frac{x}{0}", "x^2"), ("correct", "y=2x+1"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_right(answer, reference):
    result = judge(answer, reference)
    assert result.score == 1, result.reason


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_wrong(answer, reference):
    result = judge(answer, reference)
    assert result.score == 0, (result.status, result.reason)


@pytest.mark.parametrize(
    "reference",
    [
        None,
        "",
        7,
        True,
        {},
        [],
        [""],
        "0=0",
        "x=x",
        "1=2=3",
        "1<x<2",
        "y=",
        "y=\\frac{",
        "9^{9^{9^9}}",
        "f(x)=???",
        "x \\pm 1",
    ],
)
def test_references_that_cannot_be_read_are_unscorable(reference):
    result = judge("x", reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_constants_do_not_count_where_they_are_optional():
    assert judge("x^2", "x^2+C", constant="optional").score == 1
    assert judge("x^2+5", "x^2+C", constant="optional").score == 1
    assert judge("x^2+C", "x^2", constant="optional").score == 1
    assert judge("x^2+x", "x^2+C", constant="optional").score == 0
    assert judge("x^2+Cx", "x^2", constant="optional").score == 0


@pytest.mark.parametrize("params", [{"constant": "any"}, {"evaluated": 1}, {"extract": "all"}])
def test_parameters_that_cannot_be_used(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge("x", "x", **params)


COEFFICIENTS = st.lists(st.integers(-9, 9), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(one=COEFFICIENTS, other=COEFFICIENTS, scale=st.integers(-5, 5))
def test_lines_are_equal_when_their_coefficients_are_proportional(one, other, scale):
    def line(a, b, c):
        return f"{a}x+({b})y=({c})"

    if not any(one[:2]):
        return
    scaled = [scale * coefficient for coefficient in one]
    assert judge(line(*scaled), line(*one)).score == (scale != 0)
    cross = any(one[i] * other[j] != one[j] * other[i] for i in range(3) for j in range(3))
    assert judge(line(*other), line(*one)).score == (any(other) and not cross)


def test_values_tell_small_differences_apart():
    assert not same_expression_values(read_side("x"), read_side("1.000000000000001x"))
    assert same_expression_values(read_side("0.1x+0.2x"), read_side("0.3x"))


ALPHABET = st.sampled_from(
    [*"012xyCf=<>+-*/^(){}|,' ", "\\frac", "\\sqrt", "\\sin", "\\ln", "f(x)", "\\le", "\\int", "\\pm", "\\pi", "\\\\"]
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    answer=st.lists(ALPHABET, max_size=9).map("".join),
    reference=st.sampled_from(["y=2x+1", "f(x)=x^2", "x^2+C", "x<y"]),
)
def test_judging_raises_nothing(answer, reference):
    assert judge(answer, reference).score in (0, 1)


@pytest.mark.parametrize("unit", ["x+", "(", "=", "f(x)=", "x=", "\\frac{x}{", "^", "x^2", "|x", "9", "x'", "\\sin "])
def test_time_is_linear_in_the_length(unit):
    def seconds(length):
        start = time.perf_counter()
        assert judge(unit * (length // len(unit)), "y=2x+1").score == 0
        return time.perf_counter() - start

    short, long = min(seconds(990) for _ in range(2)), min(seconds(100_000) for _ in range(2))
    assert long < 101 * 8 * short + 0.1
