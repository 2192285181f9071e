"""The task `math_set_interval_tuple_matrix`: containers by kind."""

import time
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.registry import load_tasks
from rewards.types import RewardRequest
from rewards.verifiers.containers import KINDS, kind_of, read_container
from rewards.verifiers.intervals import Interval, read_union, same_union
from rewards.verifiers.matrices import read_matrix


def judge(answer, reference, kind="auto", **params):
    task = "math_set_interval_tuple_matrix"
    params = {"kind": kind} | params
    request = RewardRequest(task=task, response=f"\\boxed{{{answer}}}", reference=reference, params=params)
    return load_tasks()[task].function(request)


MATRIX = "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"

RIGHT = [
    # sets
    ("\\{1,2\\}", "\\{2,1\\}"), ("1, 2", "\\{1,2\\}"), ("2 \\text{ and } 1", "1, 2"), ("x=1 or x=2", "\\{1,2\\}"),
    ("\\left\\{\\frac12, 3\\right\\}", "\\{0.5, 3\\}"), ("\\pm 1", "\\{-1, 1\\}"),
    ("1 \\pm \\sqrt{2}", "1-\\sqrt2, 1+\\sqrt2"),
    ("S = \\{1\\}", "\\{1\\}"), ("1", "\\{1\\}"), ("\\{\\}", "\\emptyset"), ("\\{(1,2),(3,4)\\}", "\\{(3,4),(1,2)\\}"),
    ("(1,2)", "\\{(1,2)\\}"), ("\\{1, 0.5\\}", "\\{1, 1/2, 0.5\\}"), ("\\{x+1\\}", "\\{1+x\\}"), ("7", 7),
    # tuples
    ("(1,2)", "(1,2)"), ("\\langle 1, 2\\rangle", "(1,2)"), ("(x,y) = (1, 2)", "(1,2)"), ("[1,2,3]", "[1,2,3]"),
    ("(1.0, \\frac{4}{2}, 3)", "(1,2,3)"), ("P = (1,2)", "(1,2)"),
    # intervals
    ("[1,2)", "[1,2)"), ("x \\in [1,2)", "[1,2)"), ("1 \\le x < 2", "[1,2)"), ("2 > x \\geq 1", "[1,2)"),
    ("x > 3", "(3,\\infty)"), ("3 < x", "(3,+\\infty)"), ("x≤3", "(-\\infty,3]"), ("\\mathbb{R}", "(-\\infty,\\infty)"),
    ("(1,2)\\cup(3,4)", "(3,4)\\cup(1,2)"), ("x<1 \\text{ or } x>2", "(-\\infty,1)\\cup(2,\\infty)"),
    ("x \\neq 0", "(-\\infty,0)\\cup(0,\\infty)"), ("\\mathbb{R}\\setminus\\{0\\}", "(-\\infty,0)\\cup(0,\\infty)"),
    ("\\mathbb{R}\\setminus\\{1,0\\}", "x<0 or 0<x<1 or x>1"), ("(0,1)\\cup\\{1\\}", "(0,1]"),
    ("[1,2]\\cup[2,3]", "[1,3]"),
    ("[\\sqrt{2},\\pi)", "[2^{1/2}, \\pi)"), ("[0.5, 1]", "[1/2, 1]"),
    # matrices
    (MATRIX, MATRIX), ("A = " + MATRIX, MATRIX), (MATRIX.replace("pm", "bm"), MATRIX), ("[[1,2],[3,4]]", MATRIX),
    (MATRIX, "[[1,2],[3,4]]"), (MATRIX, [[1, 2], ["3", 4.0]]), ("\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}^T", MATRIX),
    ("\\frac12\\begin{pmatrix}2&4\\\\6&8\\end{pmatrix}", MATRIX), ("-" + MATRIX, [[-1, -2], [-3, -4]]),
    ("[[1]]", [[1]]),
    ("\\left[\\begin{array}{cc}1&2\\\\ 3&4\\\\\\end{array}\\right]", MATRIX),
    ("\\begin{pmatrix}\\frac12\\\\[2pt] x+1\\end{pmatrix}", "\\begin{pmatrix}0.5\\\\1+x\\end{pmatrix}"),
    ("2\\begin{pmatrix}x\\\\1\\end{pmatrix}", "\\begin{pmatrix}2x\\\\2\\end{pmatrix}"),
    # several references
    ("(2,1)", ["(1,2)", "(2,1)"]),
]  # fmt: skip

WRONG = [
    ("\\{1,2,3\\}", "\\{1,2\\}"), ("\\{1\\}", "\\{1,2\\}"), ("\\{1,1\\}", "\\{1,2\\}"), ("(1,2)", "\\{1,2\\}"),
    ("[1,2]", "1,2"),
    ("\\{1 or 2", "\\{1,2\\}"), ("\\{0.5, 1/2\\}", "\\{0.5, 2\\}"), ("0", "\\emptyset"), ("\\emptyset", "\\{0\\}"),
    ("1+1, 1", "\\{1,2\\}"), ("\\{1,2\\}, 3", "\\{1,2,3\\}"), ("\\{R\\}", "\\{r\\}"), ("", "\\emptyset"),
    ("\\pm 1", "\\{1\\}"),
    ("(2,1)", "(1,2)"), ("\\{1,2\\}", "(1,2)"), ("1,2", "(1,2)"), ("[1,2]", "(1,2)"), ("(1,2,3)", "(1,2)"),
    ("(1)", "(1,2)"),
    ("1<x<2", "(1,2)"), ("(1,2]", "(1,2)"), ("(1,2),(1,2)", "(1,2)"), ("(1,3/2)", "(1,2)"), ("(y,x)=(2,1)", "(1,2)"),
    ("[1,2]", "[1,2)"), ("(1,2)", "[1,2)"), ("[2,1)", "[1,2)"), ("1.5", "[1,2)"), ("\\{1\\}", "[1,2)"),
    ("[1,2)\\cup[3,4]", "[1,2)"),
    ("[0,1)\\cup(1,2]", "[0,2]"), ("x>3", "[3,\\infty)"), ("x<3", "(3,\\infty)"), ("[3,\\infty]", "[3,\\infty)"),
    ("3 > x > 4", "(3,4)\\cup(5,6)"), ("1<x>2", "(1,\\infty)"), ("2x<6", "(-\\infty,3)"), ("x<y<3", "x<3"),
    ("\\mathbb{R}", "[0,\\infty)"),
    ("\\mathbb{Q}", "\\mathbb{R}"), ("x \\ne 0", "\\mathbb{R}"), ("[\\sqrt2, 4)", "[\\sqrt3, 4)"),
    ("(1,2)\\cap(1,3)", "(1,2)\\cup(5,6)"),
    ("\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}", MATRIX), (MATRIX + "^T", MATRIX), (MATRIX + "^2", MATRIX),
    ("2" + MATRIX, MATRIX),
    ("\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}", MATRIX), ("-2", MATRIX), ("(1,2,3,4)", MATRIX),
    ("[[1,2,3,4]]", MATRIX),
    ("[[1],[2],[3],[4]]", MATRIX), ("[[1,2],[3]]", MATRIX), ("[[1,2],[3,5]]", MATRIX), ("[1,2,3,4]", MATRIX),
    (MATRIX + MATRIX, MATRIX), ("\\begin{pmatrix}1&2\\\\3&\\end{pmatrix}", MATRIX),
    ("(1,2)", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\begin{pmatrix}0+1&2\\\\3&4\\end{pmatrix}", MATRIX),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_right(answer, reference):
    result = judge(answer, reference)
    assert result.score == 1, result.reason


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_wrong(answer, reference):
    result = judge(answer, reference)
    assert result.score == 0, result.reason


def test_how_often_an_item_stands_counts_in_a_multiset():
    assert judge("1, 2, 1", "1, 1, 2", "multiset").score == 1
    assert judge("1, 2", "1, 1, 2", "multiset").score == 0
    assert judge("1, 2, 2", "1, 1, 2", "multiset").score == 0


def test_an_interval_may_be_named():
    assert judge("1<x<2", "(1,2)", "interval").score == 1
    assert judge("[1,2]", "[1,2]", "tuple").score == 1
    assert judge("1\\le x\\le 2", "[1,2]", "tuple").score == 0


def test_large_sets_of_irrational_numbers_in_any_order():
    numbers = [f"\\sqrt{{{number}}}+1" for number in range(3, 53)]
    assert judge(", ".join(numbers), ", ".join(numbers[::-1])).score == 1
    assert judge(", ".join(numbers), ", ".join(numbers[::-1]), "multiset").score == 1
    assert judge(", ".join([*numbers[1:], "\\sqrt{2}+1"]), ", ".join(numbers)).score == 0


def test_unevaluated_items_are_accepted_where_allowed():
    assert judge("(1+1, 1)", "(2, 1)", evaluated=False).score == 1


@pytest.mark.parametrize(
    ("reference", "kind"),
    [(None, "auto"), ("", "auto"), ("\\frac{", "auto"), ("(1,2)", "matrix"), ("(1,2)", "set_"), ([], "auto"),
    ([[]], "auto"),
     ([[1, 2], [3]], "auto"), ("[2,1)", "interval"), ("\\{x : x>1\\}", "interval"), (True, "auto"), ({}, "auto"),
     ("9^{9^{9^9}}, 1", "auto"), ("(1,???)", "auto"), ([None], "auto")],
)  # fmt: skip
def test_references_that_cannot_be_read(reference, kind):
    if kind == "set_":
        with pytest.raises(ValueError, match=r"params\.kind"):
            judge("1", reference, kind)
        return
    result = judge("1", reference, kind)
    assert (result.score, result.status) == (None, "unscorable")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("(1,2)", "tuple"), ("[1,2]", "interval"), ("[1,2,3]", "tuple"), ("[1,2)", "interval"), ("1,2", "set"),
    ("x<3", "interval"),
     ("\\left(1,2\\right)", "tuple"), ("(1,\\infty)", "interval"), (MATRIX, "matrix"), ("[[1]]", "matrix"),
     ("\\emptyset", "set")],
)  # fmt: skip
def test_kinds(text, kind):
    assert kind_of(text) == kind


ENDS = st.integers(-6, 6).map(lambda value: Fraction(value, 2))
PIECES = st.lists(
    st.tuples(ENDS, ENDS, st.booleans(), st.booleans())
    .map(lambda piece: (min(piece[:2]), max(piece[:2]), *piece[2:]))
    .map(lambda piece: (*piece[:2], True, True) if piece[0] == piece[1] else piece),
    min_size=1,
    max_size=4,
)


def union(pieces):
    return tuple(
        Interval(str(low), low_closed, str(high), high_closed) for low, high, low_closed, high_closed in pieces
    )


def members(pieces):
    """The quarters from -4 to 4 that belong to some piece: they tell unions of halves apart."""
    return {
        value
        for value in (Fraction(number, 4) for number in range(-16, 17))
        for low, high, low_closed, high_closed in pieces
        if low < value < high or (value == low and low_closed) or (value == high and high_closed)
    }


@settings(max_examples=500, deadline=None, derandomize=True)
@given(one=PIECES, other=PIECES)
def test_unions_are_equal_when_their_members_are(one, other):
    assert same_union(union(one), union(other), evaluated=True) == (members(one) == members(other))
    assert same_union(union(one), union(one[::-1]), evaluated=True)


def test_a_written_union_is_read_back():
    assert read_union("(1,2]\\cup\\{3\\}") == (Interval("1", False, "2", True), Interval("3", True, "3", True))


def test_matrices_are_read():
    assert read_matrix(MATRIX) == (("1", "2"), ("3", "4"))
    assert read_matrix("[[1, 2], [3, 4]]") == (("1", "2"), ("3", "4"))
    assert read_matrix("[[1,2],[3,[4]]]") is None


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.lists(
        st.sampled_from([*"0123xR,;()[]{}<>= &", "\\{", "\\}", "\\cup", "\\infty", "\\setminus", "\\mathbb{R}",
        "\\begin{pmatrix}",
                         "\\end{pmatrix}", "\\\\", "\\le", "\\in", "\\pm", "^T", " or "]), max_size=14).map("".join),
    kind=st.sampled_from(KINDS),
)  # fmt: skip
def test_reading_raises_nothing(text, kind):
    read_container(text, kind)


@pytest.mark.parametrize(
    "unit", ["1,", "(", "\\cup ", "[1,2)\\cup", "\\begin{pmatrix}", "1&", "\\\\", "<", "x<", "\\{", "\\pm"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_time_is_linear_in_the_length(unit, kind):
    reference = {"matrix": MATRIX, "tuple": "(1,2)", "interval": "[1,2)"}.get(kind, "\\{1,2\\}")

    def seconds(length):
        start = time.perf_counter()
        judge(unit * (length // len(unit)), reference, kind)
        return time.perf_counter() - start

    seconds(1000)
    short, long = min(seconds(4_000) for _ in range(2)), min(seconds(100_000) for _ in range(2))
    assert long < 25 * 8 * short + 0.1
