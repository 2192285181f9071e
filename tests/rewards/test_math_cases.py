"""The task `math` against what the tests of published graders expect."""

from benchmarks.graders import sharpen
from benchmarks.math_accuracy import count, read_cases

CASES = read_cases()


def test_cases_name_their_source_and_why_policy_differs():
    assert len(CASES) >= 300
    assert len({(case.reference, case.answer) for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.source.count("/") >= 2
        assert case.policy is not case.expected, "policy is there only where it differs"
        assert bool(case.why) == (case.policy is not None)


def test_accuracy_and_false_accepts():
    grade = sharpen()
    found = count((case.wanted, grade(case.response, case.reference)) for case in CASES)
    assert found.accuracy >= 0.965
    assert found.false_accepts <= 1
