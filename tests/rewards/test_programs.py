"""Programs in responses, outputs as text, results as JSON."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.response import BoundExceeded
from rewards.verifiers.programs import MAX_SOURCE_CHARS, last_program, read_json, same_output, same_value


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\nx\n```", "x"),
        ("```py\nx\n```", "x"),
        ("```Python3\nx\n```", "x"),
        ("```python title=a.py\nx\n```", "x"),
        ("~~~python\nx\n~~~", "x"),
        ("````python\n```\nx\n```\n````", "```\nx\n```"),
        ("   ```python\nx\n   ```", "x"),
        ("```python\r\nx\r\n```\r\n", "x\r"),
        ("```\nx\n```", "x"),
        ("```python\nx\n```\n```python\ny\n```", "y"),
        ("```python\nx\n```\n```\ny\n```", "x"),
        ("```python\nx\n```\n```text\ny\n```", "x"),
        ("```text\ny\n```\n```\nx\n```", "x"),
        ("```text\nx\n```", None),
        ("```cpp\nx\n```", None),
        ("```python\nx", None),
        ("```python\nx\n```\n```python\ny", None),
        ("```python\nx\n```\n```", None),
        ("```python\n```", None),
        ("```python\n  \n```", None),
        ("``python\nx\n``", None),
        ("`python`\nx\n", None),
        ("```python x``` is\nx", None),
        ("    ```python\nx\n```\n```", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_last_program_of_an_answer(answer, program):
    assert last_program(answer) == program


@given(st.text().filter(lambda text: "```" not in text and "~~~" not in text and text.strip()))
def test_a_program_comes_out_as_it_went_in(source):
    assert last_program(f"before\n```python\n{source}\n```\nafter") == source


@given(st.text(alphabet="`~ \npython"))
def test_any_text_has_a_program_or_none(answer):
    program = last_program(answer)
    assert program is None or program in answer


def test_a_program_that_is_too_long_is_named():
    with pytest.raises(BoundExceeded, match="more than 65536 characters"):
        last_program("```\n" + "x" * (MAX_SOURCE_CHARS + 1) + "\n```")


@pytest.mark.parametrize("piece", ["```\n", "`", "~", "```python\nx\n```\n", "``` `\n", " ", "   ```\n"])
def test_hostile_answers_take_linear_time(piece):
    def seconds(length: int) -> float:
        start = time.process_time()
        last_program(piece * (length // len(piece)))
        return time.process_time() - start

    short, long = (min(seconds(length) for _ in range(3)) for length in (100_000, 800_000))
    assert long < 40 * short + 0.01


@pytest.mark.parametrize(
    ("output", "wanted", "options", "same"),
    [
        ("5\n", "5\n", {}, True),
        ("5", "5\n", {}, True),
        ("5  \n\n\n", "5", {}, True),
        ("5\r\n6\r\n", "5\n6", {}, True),
        (" 5", "5", {}, False),
        ("\n5", "5", {}, False),
        ("5 6", "5  6", {}, False),
        ("5\n6", "5 6", {}, False),
        ("5\n6", "5 6", {"whitespace": "tokens"}, True),
        ("56", "5 6", {"whitespace": "tokens"}, False),
        ("5", "5\n", {"whitespace": "exact"}, False),
        ("5\n", "5\n", {"whitespace": "exact"}, True),
        ("5.0", "5", {}, False),
        ("5.0", "5", {"tolerance": 1e-6}, True),
        ("5.0000001", "5", {"tolerance": 1e-6}, True),
        ("5.1", "5", {"tolerance": 1e-6}, False),
        ("5.1", "5", {"tolerance": 1e-6, "whitespace": "exact"}, False),
        ("1 5.0\n2", "1 5\n2", {"tolerance": 1e-6}, True),
        ("1 5.0 2", "1\n5 2", {"tolerance": 1e-6}, False),
        ("1 5.0 2", "1\n5 2", {"tolerance": 1e-6, "whitespace": "tokens"}, True),
        ("nan", "5", {"tolerance": 1}, False),
        ("inf", "5", {"tolerance": 1}, False),
        ("1e999", "5", {"tolerance": 1}, False),
        ("1e999", "1e998", {"tolerance": 1}, False),
        ("٥", "5", {"tolerance": 1e-6}, False),
        ("5_0", "50", {"tolerance": 1e-6}, False),
        ("", "5", {"tolerance": 1}, False),
        ("yes", "Yes", {}, False),
    ],
)
def test_outputs(output, wanted, options, same):
    assert same_output(output, wanted, **options) is same


@pytest.mark.parametrize("token", ["1" * 399, "1" * 100_000, "1." * 50_000, "1e" * 50_000, "-" * 100_000])
def test_hostile_numbers_take_linear_time(token):
    start = time.process_time()
    same_output("1 " * 100_000 + token, "1.0 " * 100_000 + "7", tolerance=1e-6)
    first = time.process_time() - start
    start = time.process_time()
    same_output("1 " * 400_000 + token, "1.0 " * 400_000 + "7", tolerance=1e-6)
    assert time.process_time() - start < 20 * first + 0.01


@pytest.mark.parametrize(
    ("value", "wanted", "exact", "numeric"),
    [
        (5, 5, True, True),
        (5, 6, False, False),
        (5.0, 5, False, True),
        (5, 5.0, False, True),
        (5.0 + 1e-9, 5.0, True, True),
        (5.1, 5.0, False, False),
        (True, 1, False, False),
        (1, True, False, False),
        (True, 1.0, False, False),
        (1.0, True, False, False),
        (True, True, True, True),
        (False, None, False, False),
        (0, None, False, False),
        (None, 0.0, False, False),
        ("5", 5, False, False),
        (5, "5", False, False),
        ("5", 5.0, False, False),
        ([1, 2], [1, 2], True, True),
        ([2, 1], [1, 2], False, False),
        ([1], [1, 2], False, False),
        ([1, [2.0]], [1, [2]], False, True),
        ({"a": 1}, {"a": 1}, True, True),
        ({"a": 1, "b": 1}, {"a": 1}, False, False),
        ({"a": True}, {"a": 1}, False, False),
        ([], {}, False, False),
        ([], "", False, False),
        (10**400, 1.0, False, False),
        (1e308, 10**400, False, False),
        (10**30, 10**30 + 1, False, False),
    ],
)
def test_values(value, wanted, exact, numeric):
    assert same_value(value, wanted, tolerance=1e-6) is exact
    assert same_value(value, wanted, tolerance=1e-6, exact_types=False) is numeric


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_a_value_is_itself(value):
    assert same_value(value, value, tolerance=0)


@given(JSON, JSON)
def test_values_without_tolerance_agree_where_their_texts_do(value, wanted):
    def text(value):
        if isinstance(value, float):
            return repr(value + 0.0) if value else "0.0"  # -0.0 is 0.0
        if isinstance(value, list):
            return [text(item) for item in value]
        if isinstance(value, dict):
            return {key: text(item) for key, item in value.items()}
        return repr(value)

    assert same_value(value, wanted, tolerance=0) is (text(value) == text(wanted))


def test_values_may_be_nested_deeper_than_the_stack():
    value: list = []
    for _ in range(100_000):
        value = [value]
    assert same_value(value, value, tolerance=0)
    while value:
        value = value.pop()


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[-Infinity]", "{1: 2}", "", "1 2", "'a'", "9" * 5000])
def test_what_is_no_json(text):
    with pytest.raises(ValueError, match=r".*"):
        read_json(text)
