"""Reward functions that misbehave, and some that behave: loaded by the workers of the scorer's tests."""

import asyncio
import os
import sys
import time

import numpy as np

from rewards.calls import JudgeCall, PreferenceCall
from rewards.registry import Case, reward
from rewards.types import RewardRequest, RewardResult


class Unpicklable(Exception):
    """Fails on its way through a pipe: made of two values, remembered as one, with a lock inside."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")
        self.held = sys.stderr


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@reward("odd", version="7", cases=[Case(name="odd", response="1", score=1), Case(name="even", response="2", score=0)])
def odd(request: RewardRequest) -> float:
    """1 where the response is an odd number."""
    return int(str(request.response)) % 2


@reward("later")
async def later(request: RewardRequest) -> RewardResult:
    await asyncio.sleep(0)
    return RewardResult(score=0.5, components={"part": 0.25}, extracted="x", reason="slept")


@reward("messages")
def messages(request: RewardRequest) -> float:
    return float(len(request.response))


@reward("returns")
def returns(request: RewardRequest):
    """Whatever a reward might return by mistake."""
    return {
        "bool": True,
        "numpy": np.float32(0.5),
        "nan": float("nan"),
        "inf": float("inf"),
        "huge": 10**400,
        "text": "1",
        "none": None,
        "dict": {"score": 1},
        "nan inside": RewardResult.model_construct(score=float("nan"), status="ok"),
        "nan component": RewardResult.model_construct(score=1.0, components={"part": float("nan")}),
        "no status": RewardResult.model_construct(score=None, status="ok"),
        "surrogate": RewardResult.model_construct(score=1.0, reason="\ud800"),
    }[str(request.response)]


@reward("breaks")
def breaks(request: RewardRequest) -> float:
    """Fails in the way that the response names."""
    match request.response:
        case "unpicklable":
            raise Unpicklable(1, 2)
        case "unprintable":
            raise Unprintable
        case "exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "cancel":
            raise asyncio.CancelledError
        case "os exit":
            os._exit(3)
        case "os exit 0":
            os._exit(0)
        case "hang":
            time.sleep(600)
        case "hang in C":
            return float(9**9**9 > 0)
        case "memory":
            return float(len(bytearray(2**40)))
        case "memory by steps":
            kept = []
            while True:
                kept.append(bytearray(2**24))
        case "recursion":
            return breaks(request)
        case "print":
            print("not a result", flush=True)
            os.write(1, b"not a result either\n")
            return float(len(sys.stdin.read()) == 0)
    return 1.0


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """A reward function as verl has them."""
    return {"score": float(solution_str == ground_truth), "length": len(solution_str), "source": data_source}


def _ask(request: RewardRequest):
    """As many calls as the response says, of the kind that the reference says; by itself for none."""
    match request.response:
        case "none":
            return RewardResult(score=0.25, reason="no call")
        case "empty":
            return []
        case "not calls":
            return [1]
        case "raises":
            raise ValueError("cannot ask")
        case "hang":
            time.sleep(600)
    messages = [{"role": "user", "content": f"{request.id}"}]
    number, kind = int(str(request.response).split()[0]), request.reference or "judge"
    if kind == "preference":
        return [PreferenceCall(messages=messages)] * number
    numbered = ([{"role": "user", "content": f"{request.id} {index}"}] for index in range(number))
    return [JudgeCall(messages=each, response_schema={"type": "object"}) for each in numbered]


@reward("asks", ask=_ask, cases=[Case(name="honest", response="1", score=1, replies=("1",))])
def asks(request: RewardRequest, replies):
    """The number of replies; fails in the way that the first reply names."""
    match replies[:1]:
        case ["ask again"]:
            return _ask(request)
        case ["hang"]:
            time.sleep(600)
        case ["raise"]:
            raise ValueError("cannot read the reply")
    return RewardResult(score=float(len(replies)), reason=str(list(replies)))


LOADED: list[str] = []


def _load() -> None:
    """Takes longer, and more memory, than a response may."""
    LOADED.append("slow")
    time.sleep(1.5)
    LOADED.append("x" * 3 * 10**8)


@reward("slow_start", warm_up=_load)
def slow_start(request: RewardRequest) -> RewardResult:
    """How often it was loaded, in which process, and which heavy libraries are there."""
    heavy = {name: float(name in sys.modules) for name in ("sympy", "lingua", "pint")}
    return RewardResult(score=LOADED.count("slow"), reason=str(os.getpid()), components=heavy)


def _fail_to_load() -> None:
    raise ModuleNotFoundError("nothing to load")


@reward("no_start", warm_up=_fail_to_load)
def no_start(request: RewardRequest) -> float:
    return 1.0


@reward("deadly_start", warm_up=lambda: os._exit(4))
def deadly_start(request: RewardRequest) -> float:
    return 1.0
