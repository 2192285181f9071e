"""What the tasks of code share: the program in a response, the parameters of its runs, and the result of its tests."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards.params import choice, number
from rewards.response import split_response
from rewards.sandbox import UNSAFE_LOCAL, Limits, Program, Run, allows_unsafe_local, run_program
from rewards.types import RewardResult
from rewards.verifiers.programs import last_program

NUM_TRIALS = 4
REWARDS = "all", "fraction"
PARAMS = {
    "reward": "all (default): 1 only where every test passes; fraction: the share of tests that pass",
    "timeout_s": "4 (default): seconds of wall time that one run may take",
    "memory_mib": "512 (default): memory of one run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parameters that both tasks take; `limits` but for the length of the output."""

    limits: Limits
    by_fraction: bool


@dataclass(slots=True)
class Tally:
    """Tests so far: how many passed, and why the first failed that did."""

    num_tests: int
    num_passed: int = 0
    fault: str = ""
    isolated: bool = True

    def count(self, number: int, fault: str) -> None:
        """Add a test, numbered from 0; an empty fault is a pass."""
        self.num_passed += not fault
        if fault and not self.fault:
            self.fault = f"test {number + 1} of {self.num_tests}: {fault}"

    def result(self, source: str, settings: Settings, verifier: str) -> RewardResult:
        share = self.num_passed / self.num_tests
        reason = self.fault or f"passes all {self.num_tests} tests"
        return RewardResult(
            score=share if settings.by_fraction else float(share == 1),
            components={"passed": share},
            extracted=source,
            reason=reason if self.isolated else f"{reason}; ran without isolation, as {UNSAFE_LOCAL} allows",
            verifier=verifier,
        )


def read_settings(params: Mapping[str, Any]) -> Settings:
    """The settings of a request's params. Raises ValueError naming the one that cannot be used."""
    return Settings(
        limits=Limits(
            wall_s=number(params, "timeout_s", 4, least=0.1, most=60),
            memory_mib=int(number(params, "memory_mib", 512, least=64, most=8192)),
        ),
        by_fraction=choice(params, "reward", REWARDS) == "fraction",
    )


def program_of(response: str) -> str | None:
    """The program after the thinking. Raises BoundExceeded for one that is too long."""
    answer = split_response(response).answer
    return None if answer is None else last_program(answer)


def no_program(verifier: str) -> RewardResult:
    return RewardResult(
        score=0, reason="no fenced block of Python that is closed, after the thinking", verifier=verifier
    )


def unscorable(reason: str, verifier: str) -> RewardResult:
    return RewardResult(score=None, status="unscorable", reason=reason, verifier=verifier)


def start_cost_s(enough_s: float) -> float:
    """What starting an empty program takes, the least of a few where none is within `enough_s`. Raises SandboxError."""
    least_s = math.inf
    for _ in range(NUM_TRIALS):
        run = run_program(Program(source=""), Limits(), unsafe_local=allows_unsafe_local())
        least_s = min(least_s, run.start_s)
        if least_s <= enough_s:
            break
    return least_s


def read_replies(run: Run) -> list[str] | None:
    """What a function returned to each call, as text; None where anything else was written to the private channel."""
    *lines, _ = bytes(run.replies).split(b"\n")  # a last line without an end was cut off
    starts = [b"%s %d " % (run.nonce, number) for number in range(len(lines))]
    if not all(line.startswith(start) for line, start in zip(lines, starts, strict=True)):
        return None
    return [line[len(start) :].decode(errors="replace") for line, start in zip(lines, starts, strict=True)]
