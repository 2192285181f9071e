"""The task `math_numeric_unit`: numbers, units and their conversion."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.quantities import convert, read_quantity, read_unit


def judge(answer, reference, **params):
    return load_tasks()["math_numeric_unit"].function(
        RewardRequest(task="math_numeric_unit", response=f"\\boxed{{{answer}}}", reference=reference, params=params)
    )


RIGHT = [
    ("5 km", "5000 m"), ("5\\,\\text{km}", "5 km"), ("0.5 m", "50 cm"), ("1/2 m", "50 cm"), ("\\frac{1}{2} m", "0.5 m"),
    ("1\\frac12 h", "90 min"), ("1{,}000 m", "1 km"), ("3\\times10^{8}\\,\\mathrm{m/s}", "300000 km/s"),
    ("10^{-3} m", "1 mm"), ("9.8 m/s^2", "9.8 m s^{-2}"), ("9.8 m/s²", "9.8\\,\\frac{\\text{m}}{\\text{s}^2}"),
    ("9.8 meters per second squared", "9.8 m/s^2"), ("1 N m", "1 J"), ("1 N\\cdot m", "1 kg m^2/s^2"),
    ("1 J/(kg K)", "1 J/kg/K"), ("1 J/kg K", "1 J/(kg\\cdot K)"), ("100 °C", "373.15 K"), ("32 °F", "0 °C"),
    ("20^\\circ\\text{C}", "20 degrees Celsius"), ("90°", "90 degrees"), ("90", "90^\\circ"), ("1 kWh", "3600000 J"),
    ("5 μm", "5 \\mu m"), ("1 kΩ", "1000 \\Omega"), ("\\$5", "5 dollars"), ("$5", "\\$5"), ("-\\$5", "-5 USD"),
    ("5 apples", "5 apple"), ("4 square meters", "4 m^2"), ("50\\%", "50 %"), ("50", "50%"), ("0.5", "50%"),
    ("x = 5 m", "5 m"), ("5 m = 500 cm", "5 m"), ("$v = 5$ m/s", "5 m/s"), ("7", 7), ("7.0", 7), ("0.1", 0.1),
    ("5 Kg", "5 kg"), ("5 Meters", "5 m"), ("1 L", "1000 cm^3"), ("5 m", {"value": 5, "unit": "m"}), ("5", ["4", "5"]),
    ("5.1", {"value": "5", "abs_tol": 0.1}), ("1.602176634e-19 J", "1 eV"),
]  # fmt: skip

WRONG = [
    ("5 m", "5 cm"), ("5 kg", "5 m"), ("5 m", "5"), ("90°", "90"), ("5 m^2", "5 m"), ("5 mW", "5 MW"), ("5 K", "5 °C"),
    ("50", "0.5"), ("50", "0.5 %"), ("0.5", "5 %"), ("50 %", "50"), ("nan", "7"), ("inf m", "7 m"),
    ("\\infty", "7"), ("1e999", "7"), ("5, 6", "5"), ("5 or 6 m", "5 m"), ("5 m or 6 m", "5 m"), ("5 \\pm 1 m", "5 m"),
    ("4-5 m", "5 m"), ("between 4 and 6", "5"), ("5 m 6 m", "5 m"), ("5 m/", "5 m"), ("5 m^", "5 m"), ("5 6", "56"),
    ("2+3", "5"), ("5 m = 6 m", "5 m"), ("6 m = 5 m", "5 m"), ("= 5 m", "5 m"), ("5 m =", "5 m"), ("5 dB", "5"),
    ("5 \u043c", "5 m"), ("5 €", "5 $"), ("5 million", "5"), ("5 not m", "5 m"), ("4.9999999999999999999", "5"),
    ("0.3333333333", "1/3"), ("5,0", "5"), ("1e400 dB", "5"), ("5 cats", "5 dogs"), ("m", "5 m"), ("5 __class__", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_right(answer, reference):
    result = judge(answer, reference)
    assert result.score == 1, result.reason


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_wrong(answer, reference):
    result = judge(answer, reference)
    assert result.score == 0, result.reason


@pytest.mark.parametrize(
    "reference",
    [None, "", "x", True, [], {}, {"unit": "m"}, {"value": 5, "tol": 1}, {"value": 5, "rel_tol": 1}, {"value": "x"},
     "\\pi m", "1 or 2", float("nan"), float("inf"), 10**5000, {"value": 5, "abs_tol": -1}, ["5", ""], "5 m, 6 m"],
    ids=lambda reference: repr(reference)[:20] if reference != 10**5000 else "huge",
)  # fmt: skip
def test_references_that_cannot_be_read_are_unscorable(reference):
    result = judge("5 m", reference)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    "params",
    [{"rel_tol": -1}, {"rel_tol": 1}, {"rel_tol": "1"}, {"rel_tol": True}, {"abs_tol": float("nan")}, {"abs_tol": None},
     {"require_unit": 1}, {"convert": "no"}, {"extract": "all"}],
)  # fmt: skip
def test_parameters_that_cannot_be_used(params):
    with pytest.raises(ValueError, match=r"params\."):
        judge("5 m", "5 m", **params)


def test_tolerance():
    assert judge("9.9 m", "10 m", rel_tol=0.01).score == 1
    assert judge("9.89 m", "10 m", rel_tol=0.01).score == 0
    assert judge("990 cm", "10 m", abs_tol=0.1).score == 1
    assert judge("-9.9 m", "10 m", rel_tol=0.9).score == 0
    assert judge("3.14159 rad", "180°", rel_tol=1e-5).score == 1


def test_a_missing_unit_is_refused_where_required():
    assert judge("50", "50 %", require_unit=True).score == 0
    assert judge("0.5", "50 %", require_unit=True).score == 1
    assert judge("5", "5", require_unit=True).score == 1


def test_no_conversion_where_asked():
    assert judge("500 cm", "5 m", convert=False).score == 0
    assert judge("5 meters", "5 m", convert=False).score == 1
    assert judge("5", "5 m", convert=False).score == 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=st.fractions(max_denominator=1000), unit=st.sampled_from(["m", "km/h", "°F", "J/(kg K)", "ft", "lb"]))
def test_conversion_there_and_back_is_exact(value, unit):
    there = {"m": "mile", "km/h": "m/s", "°F": "K", "J/(kg K)": "J/(g K)", "ft": "inch", "lb": "kg"}[unit]
    quantity = read_quantity(f"{value} {unit}")
    converted = convert(quantity, read_unit(there))
    assert convert(type(quantity)(converted, read_unit(there)), read_unit(unit)) == quantity.value == value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.text(max_size=40) | st.text("0123456789 .,/^{}()*-+kmsJ°%$\\", max_size=40))
def test_reading_raises_nothing(text):
    quantity = read_quantity(text)
    assert quantity is None or isinstance(quantity.value, Fraction)


@pytest.mark.parametrize("unit", ["m ", "9", "/", "(", "m^9", "\\frac{m}{", "$", "= ", "1/", "e5", "square ", "\\mu"])
def test_time_is_linear_in_the_length(unit):
    def seconds(length):
        start = time.perf_counter()
        judge("5 " + unit * (length // len(unit)), "5 m")
        return time.perf_counter() - start

    seconds(1000)
    short, long = min(seconds(12_500) for _ in range(3)), min(seconds(100_000) for _ in range(3))
    assert long < 8 * 8 * short + 0.05
