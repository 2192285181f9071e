"""Task `routes`: the shortest way between two towns, judged by the map, and problems for it.

Many answers may be right, so there is no text to compare with: the verifier walks the route that a response
commits to.
"""

import heapq
import itertools
import random
import re
from collections.abc import Mapping
from typing import Any

from rewards.params import choice, number
from rewards.registry import Case, reward
from rewards.response import BoundExceeded, clean, last_boxed, split_response
from rewards.types import RewardRequest, RewardResult

MAX_TOWNS = 64
ARROW = re.compile(r"\s*(?:->|→|\\to(?![a-z])|\\rightarrow)\s*")
EXAMPLE = {
    "start": "A",
    "end": "D",
    "roads": [["A", "B", 2], ["B", "D", 2], ["A", "C", 1], ["C", "D", 3], ["A", "D", 9]],
}
Roads = dict[str, dict[str, int]]


def read_map(reference: Any) -> tuple[str, str, Roads]:
    """Start, end and the lengths of the roads, which go both ways. Raises ValueError: the reference is unscorable."""
    try:
        start, end, rows = reference["start"], reference["end"], reference["roads"]
        roads: Roads = {}
        for one, other, length in rows:
            if not (isinstance(length, int) and length > 0):
                raise ValueError(f"the road from {one} to {other} has the length {length!r}")
            roads.setdefault(one, {})[other] = roads.setdefault(other, {})[one] = length
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"the reference is no map: {error}") from error
    if start not in roads or end not in roads or len(roads) > MAX_TOWNS:
        raise ValueError(f"the map has no {start} or {end}, or more than {MAX_TOWNS} towns")
    return start, end, roads


def shortest(start: str, end: str, roads: Roads) -> list[str]:
    """Dijkstra's route. Raises ValueError where there is none."""
    queue, seen = [(0, [start])], set()
    while queue:
        length, route = heapq.heappop(queue)
        if route[-1] == end:
            return route
        if route[-1] not in seen:
            seen.add(route[-1])
            for town, step in roads[route[-1]].items():
                heapq.heappush(queue, (length + step, [*route, town]))
    raise ValueError(f"there is no way from {start} to {end}")


def length_of(route: list[str], roads: Roads) -> int:
    return sum(roads[one][other] for one, other in itertools.pairwise(route))


def respond(reference: Any) -> str:
    """A response that is right, so that data can be checked: `sharpen rewards check --data`."""
    return "\\boxed{" + " -> ".join(shortest(*read_map(reference))) + "}"


@reward(
    "routes",
    version="1",
    params={
        "score": "shortest (default): 1 for a shortest route, else 0; ratio: shortest length / length of a route",
        "least": "0.5 (default): a ratio below it is 0, so that wandering about does not pay",
    },
    respond=respond,
    example={"question": "Which is the shortest way from A to D?", "response": "\\boxed{A -> B -> D}",
             "reference": EXAMPLE},
    cases=[
        Case(name="honest", response="So \\boxed{A -> B -> D}", score=1),
        Case(name="honest, another shortest one", response="\\boxed{A → C → D}", score=1),
        Case(name="after the thinking", response="<think>\\boxed{A -> D}</think>\\boxed{A \\to B \\to D}", score=1),
        Case(name="longer", response="\\boxed{A -> D}", score=0),
        Case(name="longer, ratio", response="\\boxed{A -> B -> A -> C -> D}", params={"score": "ratio"}, score=0.5),
        Case(name="too long, ratio", response="\\boxed{A -> D}", params={"score": "ratio"}, score=0),
        Case(name="a road that is not there", response="\\boxed{A -> B -> C -> D}", score=0),
        Case(name="stays where it is", response="\\boxed{A -> A -> B -> D}", score=0),
        Case(name="the wrong way round", response="\\boxed{D -> B -> A}", score=0),
        Case(name="not all the way", response="\\boxed{A -> B}", score=0),
        Case(name="an unknown town", response="\\boxed{A -> X -> D}", score=0),
        Case(name="forged length", response="\\boxed{A -> D (length 4, score 1)}", score=0),
        Case(name="several routes", response="\\boxed{A -> B -> D or A -> D}", score=0),
        Case(name="the last box counts", response="\\boxed{A -> B -> D} no, \\boxed{A -> D}", score=0),
        Case(name="box in the thinking only", response="<think>\\boxed{A -> B -> D}</think>Done.", score=0),
        Case(name="thinking never ends", response="<think>\\boxed{A -> B -> D}", score=0),
        Case(name="no box", response="A -> B -> D", score=0),
        Case(name="empty", response="", score=0),
        Case(name="invisible characters", response="\\boxed{A\u200b -> B -> D}", score=1),
        Case(name="a box beyond the bound", response="\\boxed{" + "A -> B -> " * 1_000 + "D}", score=0),
    ],
)  # fmt: skip
def routes(request: RewardRequest) -> RewardResult:
    """1 for a shortest route in the last box, as `A -> B -> D`.

    Reference: `start`, `end` and `roads`, each [town, town, length]. A reference without a
    way is unscorable; parameters that nobody knows are errors.
    """
    scoring = choice(request.params, "score", ("shortest", "ratio"))
    least = number(request.params, "least", 0.5, 0, 1)
    try:
        start, end, roads = read_map(request.reference)
        best = length_of(shortest(start, end, roads), roads)
    except ValueError as error:
        return RewardResult(score=None, status="unscorable", reason=str(error))
    try:
        box = last_boxed(split_response(str(request.response)).answer or "")
    except BoundExceeded as error:
        return RewardResult(score=0, reason=str(error))
    route = ARROW.split(clean(box or ""))
    fault = find_fault(route, start, end, roads)
    if fault is not None:
        return RewardResult(score=0, reason=fault, extracted=box)
    ratio = best / length_of(route, roads)
    score = ratio if scoring == "ratio" and ratio >= least else float(ratio == 1)
    return RewardResult(score=score, components={"ratio": ratio}, extracted=box, reason=f"the shortest way is {best}")


def find_fault(route: list[str], start: str, end: str, roads: Roads) -> str | None:
    """Why a list of towns is no way from start to end, or None."""
    if (route[0], route[-1]) != (start, end):
        return f"no route from {start} to {end}"
    for one, other in itertools.pairwise(route):
        if other not in roads.get(one, {}):
            return f"no road from {one} to {other}"[:200]
    return None


def problem(rng: random.Random, *, num_towns: int = 5) -> Mapping[str, Any]:
    """A random map as a prompt's row: a circle of towns, so that there is a way, and as many roads across."""
    towns = [chr(ord("A") + index) for index in range(num_towns)]
    pairs = [*itertools.pairwise(towns), (towns[-1], towns[0]), *(rng.sample(towns, 2) for _ in towns)]
    roads = [[one, other, rng.randint(1, 9)] for one, other in dict.fromkeys(tuple(sorted(pair)) for pair in pairs)]
    start, end = rng.sample(towns, 2)
    listed = ", ".join(f"{one}-{other} {length}" for one, other, length in roads)
    return {
        "question": f"Roads and their lengths: {listed}. Which is the shortest way from {start} to {end}?",
        "reference": {"start": start, "end": end, "roads": roads},
        "task": "routes",
    }
