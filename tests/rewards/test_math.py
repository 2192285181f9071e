"""The task `math`: which answers meet which references, by literal values."""

import contextlib
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.math import UnreadableReference, verify_math
from rewards.verifiers.numbers import parse_number, plain

RIGHT = [
    # the same number, written otherwise
    ("3/4", "3/4"), ("$\\frac{3}{4}$", "$\\frac34$"), ("0.75", "3/4"), ("\\dfrac{6}{8}", "3/4"), ("-\\frac12", "-0.5"),
    ("7", 7), ("7.0", 7), ("7", 7.0), ("$7$", "7"), ("07", "7"), ("7.", "7"), ("\\text{7}", "$7$"), ("0.5", 0.5),
    ("1\\frac12", "3/2"), ("1 1/2", "3/2"), ("-1\\frac{1}{2}", "-1.5"), ("1,000", "1000"), ("1{,}000", "1000"),
    ("1\\,000", 1000), ("1.2\\times 10^3", "1200"), ("1e3", "1000"), ("10^3", "1000"), ("1.2×10^{3}", 1200),
    ("16/2", "8"), ("2^3", "8"), ("\\sqrt{16}", "4"), ("1e-07", 1e-07), ("+7", "7"), ("−7", "-7"), ("½", "1/2"),
    ("1½", "3/2"), ("2³", "8"), ("x²", "x^2"), ("25 cm²", "25 cm^2"),
    # irrational
    ("\\sqrt{2}", "\\sqrt2"), ("2^{1/2}", "\\sqrt{2}"), ("\\frac{2}{\\sqrt2}", "\\sqrt{2}"), ("√2", "\\sqrt{2}"),
    ("1.414214", "\\sqrt{2}"), ("1.4142136", "\\sqrt{2}"), ("3.141593", "\\pi"), ("6.283185", "2π"), ("π", "\\pi"),
    ("\\frac{\\pi}{2}", "\\pi/2"), ("2\\sqrt{3}", "\\sqrt{12}"), ("1+\\sqrt2", "\\sqrt{2}+1"), ("\\ln 2", "\\ln(2)"),
    ("3+4i", "4i+3"), ("\\infty", "\\infty"), ("∞", "\\infty"), ("2pi", "2\\pi"),
    ("100_{2}", "100_2"), ("|x|+|y|", "|y|+|x|"),
    # chains and names
    ("3 + 4 = 7", "7"), ("7=7", "7"), ("m+n=7", "7"), ("x=5", "5"), ("5", "$x=5$"), ("x = 5", "x=5"),
    ("\\frac{6}{8} = 0.75", "3/4"),
    ("f(x)=x^2", "x^2"), ("2x+1", "y=2x+1"), ("y=2x+1", "y=2x+1"), ("y=1+2x", "$y=2x+1$"), ("y-2x=1", "y=2x+1"),
    ("(x,y)=(1,2)", "(1,2)"), ("x_1 = 3", "3"),
    # percent, unit, currency
    ("50%", "50%"), ("50", "50\\%"), ("0.5", "50%"), ("50\\%", "1/2"), ("5 cm", "5 cm"), ("5", "5 cm"),
    ("5\\text{ cm}", "5\\,\\mathrm{cm}"), ("$5", "\\$5"), ("90", "90^\\circ"),
    ("90 degrees", "90^\\circ"), ("25\\text{ cm}^2", "25 cm²"), ("-$5", "\\$-5"),
    # expressions
    ("x^2+2x+1", "(x+1)^2"), ("(x-1)(x+1)", "x^2-1"), ("r^2\\pi", "\\pi r^2"), ("x^2+C", "x^2+C"), ("x**2", "x^2"),
    ("x^2+x^3", "x^3+x^2"), ("x**2+x**3", "x^3+x^2"), ("e^{-x^2}", "e^{-x^2}"), ("x^2y^3", "y^3x^2"),
    # tuples, intervals, sets, matrices
    ("(1, 2)", "$(1,2)$"), ("\\left(1,2\\right)", "(1,2)"), ("(0.5,2)", "(1/2,2)"), ("[1,2]", "[1,2]"),
    ("x \\in [1,2]", "[1,2]"), ("(-\\infty,3]", "(-\\infty, 3]"), ("(100,200)", "(100, 200)"),
    ("\\{1,2\\}", "\\{2,1\\}"), ("1,2", "\\{1,2\\}"), ("1, 2", "2, 1"), ("x=1, x=2", "1,2"),
    ("x=1 or x=2", "\\{1,2\\}"), ("1 \\text{ or } 2", "1,2"), ("1 \\text{ and } 2", "1,2"), ("\\pm 1", "1,-1"),
    ("\\{1,1,2\\}", "\\{1,2\\}"), ("x\\le 3", "(-\\infty,3]"), ("x>3", "(3,\\infty)"), ("1<x<2", "(1,2)"),
    ("(3,4)\\cup(1,2)", "(1,2)\\cup(3,4)"), ("(1,0),(0,1)", "(0,1),(1,0)"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    # words
    ("\\text{Yes}", "yes"), ("\\text{A}", "A"), ("Monday", "\\text{Monday}"),
    # any of a list
    ("8", [7, 8]), ("0.5", ["1/2", "x"]), ("7", ["7"]),
    # spellings of numbers, percent and spacing
    ("28 percent", "28\\%"), ("28 pct", "0.28"), ("20 \\%", "20 percent"), ("4 4/9 percent", "40/900"),
    ("1 000", "1000"),
    ("1 234 567.5", "1234567.5"), ("1 000 4/9", "9004/9"), ("+11 5/6", "71/6"), ("4 0/9", "4"),
    ("11,\\! 111,\\! 111,\\! 100", "11111111100"), ("56,\\!01,\\!78", "560178"), ("12 $ and $13", "12\\text{ and }13"),
    ("185", "185\\"), ("\\mathcal{B}", "B"), ("f'(x) = 2x", "2x"), ("y' = 2x", "y' = x + x"), ("x = 4/2 = 2", "x = 2"),
    ("\\begin{bmatrix} 0 & 1 \\\\ 1 & 0 \\end{bmatrix}", "\\begin{pmatrix}0&1\\\\1&0\\end{pmatrix}"),
    ("\\begin{pmatrix} 1 & 0.5 \\\\ 1/3 & 4 \\end{pmatrix}", "\\begin{pmatrix} 1 & 1/2 \\\\ 1/3 & 4 \\end{pmatrix}"),
    ("F_n = \\sum_{k=0}^{n-1} F_{n-k-1} F_k", "F_n = \\sum_{k=0}^{n-1} F_k F_{n-k-1}"),
    ("1, 2, 3", "x = 1, y = 2, z = 3"), ("3 \\sqrt 2", "3\\sqrt{2}"), ("\\sqrt23", "3\\sqrt2"),
    # units of a reference, and letters that are none
    ("5", "5cm"), ("5", "5\\text{ cm}"), ("5", "5\\mathrm{m/s}"), ("25", "25cm^{2}"), ("12", "12\\text{ apples}"),
    ("10", "10weeks"), ("6", "6\\text{ P.M.}"), ("5", "5 N m"), ("5 g", "5g"), ("5 Meters", "5 meters"),
    ("90 Degrees", "90^\\circ"), ("\\sqrt{2}", "\\sqrt{2}\\text{ cm}"), ("5 MW", "5\\text{ MW}"),
    ("\\pi r^2h", "\\pi r^2 h\\text{ cm}"), ("125", "125\\textnormal{ miles}"),
    ("2*x", "2x"), ("x+x", "2x"), ("2ba", "2ab"), ("-y+2x", "2x-y"), ("0.5x", "\\frac{x}{2}"), ("2 x", "2x"),
    ("A\\cdot B", "AB"), ("BA", "AB"),
    # relations and intervals; infinities
    ("(-3,5)", "-3<x<5"), ("-3\\le x\\le 5", "[-3,5]"), ("-\\infty<x<3", "(-\\infty,3)"), ("(3,\\infty)", "x>3"),
    ("2\\infty", "\\infty"), ("-|\\infty|", "-\\infty"), ("\\pi/2", "\\arctan\\infty"),
    ("1", "\\sec 0"), ("\\sqrt{2}", "\\csc(\\pi/4)"),
]  # fmt: skip

WRONG = [
    ("", "7"), ("{", "7"), ("}", "7"), ("\\", "7"), ("7}", "7"), ("}7{", "7"), ("--7", "7"), ("-7", "7"), ("nan", "7"),
    ("inf", "7"), ("0x7", "7"), ("7e400", "7"), ("0.0000001", "0"), ("\\frac{1}{0}", "7"), ("0/0", "0"), ("?", "7"),
    ("7 or 8", "7"), ("7,8", "7"), ("7 8", "7"), ("7\n8", "7"), ("7;8", "7"), ("7 8", "78"), ("7 8", "15"),
    ("7 8", "56"), ("7$8", "78"), ("7\\text{ or }8", "7"), ("not 3/4", "3/4"), ("3/4 or 1", "3/4"), ("\\neg 7", "7"),
    ("\\approx 0.75", "3/4"), ("approximately 0.75", "3/4"), ("between 3/4 and 1", "3/4"), ("7\\ldots", "7"),
    ("77777777777777777778", "77777777777777777777"), ("0.999999999999", "1"), ("0.9999999", "1"), ("10,00", "1000"),
    ("1000000000000000000000000000000001/1000000000000000000000000000000000", "1"), ("12_{8}", "12"), ("1\\,000", "0"),
    # decimals: rational references are exact, irrational ones from six places
    ("0.333333", "1/3"), ("0.333333333333", "1/3"), ("0.331", "0.33"), ("1.41421", "\\sqrt{2}"), ("3.14", "\\pi"),
    ("1.414213", "\\sqrt{2}"), ("\\pi", "3.14"), ("1.0000001\\sqrt{2}", "\\sqrt2"), ("\\sqrt{2}+10^{-9}", "\\sqrt2"),
    ("10^{-20}\\pi", "10^{-21}\\pi"), ("2\\cdot 10^{-9}\\sqrt2", "10^{-9}\\sqrt2"),
    # chains
    ("m+n=8", "7"), ("2m=7", "7"),
    ("3+4=8", "7"), ("8=7", "7"), ("7=8", "7"), ("1 = 0.75", "3/4"), ("x = 6", "5"), ("y=5", "x=5"), ("0=0", "x=5"),
    ("0=0", "y=2x+1"), ("=7", "7"), ("7=", "7"), ("x=7=8", "7"), ("\\pi \\approx 3.14", "\\pi"),
    # the operation asked for
    ("3+4", "7"), ("3 \\cdot 4", "12"), ("3\\times 4", "12"), ("3*4", "12"), ("3(4)", "12"), ("(3)(4)", "12"),
    ("5!", "120"), ("\\binom{5}{2}", "10"), ("\\sum_{i=1}^3 i", "6"), ("\\int_0^1 x dx", "1/2"), ("8-1", "7"),
    ("\\log_2 8", "3"), ("\\gcd(4,6)", "2"), ("\\sin(30^\\circ)", "1/2"),
    ("3×4", "12"), ("3·4", "12"), ("14÷2", "7"), ("3 + 4 = 3 + 4", "7"),
    # percent and units
    ("50%", "50"), ("5 m", "5 cm"), ("5 cm", "5"), ("\\$5", "5"),
    ("12\\text{ apples}", 12), ("90^\\circ", "90"), ("7 million", "7"), ("7 dozens", "7"), ("7x", "7"),
    ("7i", "7"), ("7 times", "7"),
    ("7 is not it", "7"), ("€5", "\\$5"), ("7 or x", "7"), ("7\\pi", "7"), ("5 cm", "5 cm^2"),
    # case, order, brackets, items
    ("R", "r"), ("\\pi R^2", "\\pi r^2"), ("2a+B", "2a+b"), ("x+1", "x+2"),
    ("x^3+x^3", "x^3+x^2"), ("e^{-x^3}", "e^{-x^2}"), ("\\log 2", "\\ln 2"),
    ("(2,1)", "(1,2)"), ("(3,1)", "(2,1)"), ("(1,2)", "[1,2]"), ("1,2", "(1,2)"), ("(1,2)", "1,2"),
    ("\\{1,2\\}", "(1,2)"), ("2³", "23"), ("1½", "11/2"), ("cm²", "cm2"),
    ("(1,2]", "(1,2)"), ("[1,2)", "(1,2]"), ("(-\\infty,3)", "(-\\infty, 3]"), ("x<3", "(-\\infty,3]"),
    ("\\{1,2\\}", "\\{1,2,3\\}"), ("\\{1,2,3\\}", "\\{1,2\\}"), ("1", "1,2"), ("1,2,3", "1,2"), ("1.5", "(1,2)"),
    ("(1,2,3)", "(1,2)"), ("(1.0000001,2)", "(1,2)"), ("\\{1, 2.0000001\\}", "\\{1,2\\}"), ("(1+1,2)", "(2,2)"),
    ("\\begin{pmatrix}2\\\\1\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    # written with more than one reading, or with what Math-Verify leaves out
    ("\\sqrt 23", "\\sqrt{23}"), ("11 6/6", "12"), ("11 7/6", "73/6"), ("4 0/0", "4"), ("1 234/567", "1234/567"),
    ("12 34", "1234"), ("1 00", "100"), ("E'", "E"), ("f'", "f"), ("f", "f'"), ("f''(x)", "f'(x)"),
    ("x = 5+5+1 = 7 = 11", "x = 11"), ("z = 3+3 = 2", "z = 1+1 = 2"), ("x = 1/3 \\approx 11", "x = 1/3"),
    ("28 percent", "28"), ("28 pct", "0.28\\%"),
    # words
    ("B", "A"), ("no", "yes"), ("sye", "yes"), ("not Monday", "Monday"), ("9", [7, 8]),
    # the coefficient of a variable
    ("2", "2x"), ("-3", "-3x"), ("1/2", "\\frac{1}{2}x"), ("3", "3i"), ("2", "2e"), ("2", "2ab"), ("2", "2 x y"),
    ("2", "2x-y"), ("2", "2 m g"), ("3", "3 sin x"), ("(2,3)", "(2x,3)"), ("\\{2,3\\}", "\\{2x,3\\}"),
    ("\\sqrt{2}", "\\sqrt{2}s"), ("2\\pi", "2\\pi h"), ("\\pi r^2", "\\pi r^2 h"), ("7t", "7"), ("7ab", "7"),
    ("2x\\text{ cm}", "2x"), ("2x-y cm", "2x-y"),
    ("\\begin{pmatrix}2\\\\3\\end{pmatrix}", "\\begin{pmatrix}2x\\\\3\\end{pmatrix}"),
    # two numbers for the interval between them
    ("-3<x<5", "-3, 5"), ("1,2", "1<x<2"), ("-3<x<5", "\\{-3,5\\}"), ("-3<x<5", "x=-3,5"), ("-1<x<1", "\\pm 1"),
    ("\\{1,2\\}", "1<x<2"), ("\\pm 1", "-1<x<1"), ("\\pm 1", "(-1,1)"), ("x=-3, x=5", "-3<x<5"),
    # no value, or an infinite one
    ("\\sec 0", "5"), ("\\cot 0", "5"), ("\\csc 0", "5"), ("(\\cot 0,1)", "(5,1)"), ("x+\\cot 0", "x+5"),
    ("1.5", "\\csc(\\pi/2)"), ("-\\infty", "\\infty"), ("-|\\infty|", "\\infty"), ("\\frac{1}{\\infty}", "0"),
    ("\\arctan\\infty", "\\frac{\\pi}{2}"), ("\\pm|\\infty|", "\\pm 5"), ("\\sqrt{\\infty}x", "5x"),
    # units and variables have a case
    ("2N", "2n"), ("5 MW", "5 mW"), ("3I", "3i"), ("AB", "ab"), ("pq", "PQ"), ("Ax", "ax"), ("\\theta", "\\Theta"),
    ("\\omega", "\\Omega"), ("\\delta", "\\Delta"), ("\\overline{ab}", "\\overline{AB}"),
    # more operations
    ("25 \\mod 13", "12"), ("\\cot(\\pi/4)", "1"), ("\\sec 0", "1"), ("\\csc(\\pi/2)", "1"), ("\\sinh(0)", "0"),
    ("\\cosh(0)", "1"), ("\\tanh(0)", "0"), ("\\operatorname{arsinh}(0)", "0"), ("\\Gamma(5)", "24"),
    ("\\begin{vmatrix}3&0\\\\0&4\\end{vmatrix}", "12"), ("\\det\\begin{pmatrix}3&0\\\\0&4\\end{pmatrix}", "12"),
]  # fmt: skip

UNREADABLE = [
    None, "", "  ", "$$", True, {}, {"a": 1}, [], [None], ["7", ""], float("nan"), float("inf"), 10**5000, "9" * 300,
    "\\frac{", "???", "9^{9^{9^9}}", "2004!", "{" * 50, "x" * 5000, "\\cot 0",
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_right_answers(answer, reference):
    verdict = verify_math(answer, reference)
    assert verdict.equal, verdict.reason


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_wrong_answers(answer, reference):
    verdict = verify_math(answer, reference)
    assert not verdict.equal, verdict.reason


@pytest.mark.parametrize(
    "reference", UNREADABLE, ids=lambda reference: repr(reference)[:20] if reference != 10**5000 else "huge"
)
def test_references_that_cannot_be_read(reference):
    with pytest.raises(UnreadableReference):
        verify_math("7", reference)


def test_an_unfinished_answer_is_accepted_where_asked():
    assert verify_math("3+4", "7", evaluated=False).equal
    assert verify_math("5!", 120, evaluated=False).equal
    assert not verify_math("3+5", "7", evaluated=False).equal
    assert verify_math("\\sec 0", "1", evaluated=False).equal
    assert not verify_math("\\sec 0", "5", evaluated=False).equal


@pytest.mark.parametrize("evaluated", [True, False])
@pytest.mark.parametrize(
    "answer",
    ["|\\infty|", "\\infty^2", "\\sqrt{\\infty}", "\\frac{\\infty}{2}", "\\artanh 1", "\\infty-\\infty", "\\ln 0",
     "0^{-1}"],
)  # fmt: skip
def test_an_infinity_is_no_number(answer, evaluated):
    for number in range(-20, 21):
        assert not verify_math(answer, number, evaluated=evaluated).equal


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^9}}", "9**9**9**9", "9^9^9",
        "9^(9^(9^9))", "9^{(8+1)^9}", "9^{{9}^{9}}", "x^2+9^{9^9}",
        "1/2004!", "100000!", "10^{100000}", "((7!)!)!", "{" * 4000, "(" * 16_000,
        "9" * 16_000, "7," * 8000, "7" + " " * 16_000 + "x", "^" * 4000, "!" * 4000, "\\frac{1}{" * 1800, "-" * 4000,
        "x" * 16_000, "\\text{" * 2700, "a_" * 2000, "|a" * 2000, "/-" * 8000,
        "= " * 8000, "$" * 16_000, "\\boxed{" * 2000,
    ],
    ids=lambda answer: answer[:8],
)  # fmt: skip
def test_hostile_answers_are_refused_at_once(answer):
    start = time.process_time()
    assert not verify_math(answer, "7").equal
    assert time.process_time() - start < 2


ALPHABET = st.sampled_from([*"0123456789xyRr+-*/^=<>!,.;:()[]{}$%\\ _|°π∞√½七\u200b",
    "\\frac", "\\sqrt", "\\boxed{", "\\text{", "\\left(", "\\right)", "\\pi", "\\infty", "\\le", "\\in", "\\{", "\\}",
    "\\cdot", "\\times", "\\sum", "\\int", "\\pm", " or ", " and ", "**", "e5", "\\%", "\\begin{pmatrix}", "\\\\",
])  # fmt: skip
TEXT = st.lists(ALPHABET, max_size=12).map("".join) | st.text(max_size=20)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    answer=TEXT,
    reference=TEXT | st.integers() | st.floats() | st.none() | st.lists(TEXT, max_size=3),
    evaluated=st.booleans(),
)
def test_judging_raises_nothing_but_an_unreadable_reference(answer, reference, evaluated):
    with contextlib.suppress(UnreadableReference):
        verify_math(answer, reference, evaluated=evaluated)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(numerator=st.integers(-(10**12), 10**12), denominator=st.integers(1, 10**6))
def test_a_rational_equals_itself_and_no_neighbour(numerator, denominator):
    assert verify_math(f"\\frac{{{numerator}}}{{{denominator}}}", f"{numerator}/{denominator}").equal
    assert not verify_math(f"{numerator + 1}/{denominator}", f"{numerator}/{denominator}").equal


@pytest.mark.parametrize(
    ("text", "value"), [("1,234.50", "2469/2"), ("-\\frac{3}{4}", "-3/4"), ("2e-3", "1/500"), ("$.5$", "1/2")]
)
def test_numbers_are_exact(text, value):
    number = parse_number(text)
    assert number is not None
    assert str(number.value) == value


@pytest.mark.parametrize(
    "text", ["", "-", "x", "1/0", "1,23", "1.2.3", "7 8", "1" * 201, "\\frac{a}{b}", "1e9999", "٣"]
)
def test_what_is_no_number(text):
    assert parse_number(text) is None


def test_plain_takes_off_what_only_dresses():
    assert plain("\\( \\text{ 7 }\\,\\text{cm} \\).") == "\\( 7 cm \\)"
    assert plain("$\\left( 1,\\ 2 \\right)$") == "( 1, 2 )"


def judge(response, reference="3/4", **params) -> RewardResult:
    request = RewardRequest(task="math", response=response, reference=reference, params=params)
    result = load_tasks()["math"].function(request)
    assert isinstance(result, RewardResult)
    return result


RULED = [case for case in load_tasks()["math"].cases if not case.replies]


@pytest.mark.parametrize("case", RULED, ids=lambda case: case.name)
def test_conformance(case):
    assert judge(case.response, case.reference or "3/4", **case.params).score == case.score


def test_the_result_names_what_was_extracted_and_why():
    result = judge("so \\boxed{3/5}")
    assert (result.score, result.status, result.extracted) == (0, "ok", "3/5")
    assert result.reason == "compared as exact numbers"


@pytest.mark.parametrize("response", ["\\boxed{7}", "", "no box"])
def test_an_unreadable_reference_is_unscorable_whatever_the_answer(response):
    result = judge(response, None)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize("params", [{"extract": "last"}, {"extract": 1}, {"extract": None}, {"evaluated": "false"}])
def test_params_of_a_wrong_type_or_value_are_errors(params):
    with pytest.raises(ValueError, match="params"):
        judge("\\boxed{3/4}", **params)
