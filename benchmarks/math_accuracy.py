"""How often a maths grader decides as the tests of published graders do, and as our documented policy does."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.graders import Grader

DATA = Path(__file__).parent / "data"
CASES = DATA / "math_cases.jsonl"  # in which faults of `math` were looked for, and mended
HELD_OUT = DATA / "math_cases_heldout.jsonl"  # collected apart, and used for nothing but this measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class MathCase:
    """A fact out of a grader's tests; `policy` is what docs/tasks.md decides, where that is otherwise."""

    reference: str
    answer: str
    expected: bool
    source: str
    policy: bool | None = None
    why: str = ""

    @property
    def wanted(self) -> bool:
        return self.expected if self.policy is None else self.policy

    @property
    def response(self) -> str:
        return f"\\boxed{{{self.answer}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Counts over cases: right ones, wrong answers that were accepted, right ones that were refused."""

    num_cases: int
    false_accepts: int
    false_rejects: int

    @property
    def accuracy(self) -> float:
        return 1 - (self.false_accepts + self.false_rejects) / self.num_cases


def read_cases(path: Path = CASES) -> list[MathCase]:
    with open(path, encoding="utf-8") as lines:
        return [MathCase(**json.loads(line)) for line in lines]


def count(verdicts: Iterable[tuple[bool, bool]]) -> Accuracy:
    """Accuracy of pairs: what was wanted, what was said."""
    pairs = list(verdicts)
    return Accuracy(
        num_cases=len(pairs),
        false_accepts=sum(said and not wanted for wanted, said in pairs),
        false_rejects=sum(wanted and not said for wanted, said in pairs),
    )


def measure(cases: list[MathCase], graders: dict[str, Grader], tell: Callable[[str], None]) -> dict[str, float]:
    """Print each grader's accuracy by policy and by the sources alone, and where ours falls short."""
    figures: dict[str, float] = {}
    for name, grade in graders.items():
        said = [grade(case.response, case.reference) for case in cases]
        for kind, wanted in (("policy", [c.wanted for c in cases]), ("sources", [c.expected for c in cases])):
            found = count(zip(wanted, said, strict=True))
            figures[f"{name}/{kind}/accuracy"] = round(found.accuracy, 4)
            figures[f"{name}/{kind}/false_accepts"] = found.false_accepts
            figures[f"{name}/{kind}/false_rejects"] = found.false_rejects
            tell(
                f"{name}, by {kind}: accuracy {found.accuracy:.4f} of {found.num_cases}, "
                f"{found.false_accepts} false accepts, {found.false_rejects} false rejects"
            )
        if name == "sharpen":
            for line in _short_of(cases, said):
                print(line, file=sys.stderr)
    return figures


def _short_of(cases: list[MathCase], said: list[bool]) -> Iterator[str]:
    for case, verdict in zip(cases, said, strict=True):
        if verdict != case.wanted:
            yield f"{'accepts' if verdict else 'refuses'} {case.answer!r} for {case.reference!r} ({case.source})"
