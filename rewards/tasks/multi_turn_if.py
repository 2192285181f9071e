"""Task `multi_turn_if`: instructions of several turns, each still followed in the turns after it."""

from typing import Any

from rewards.conversation import as_messages, assistant_turns
from rewards.params import flag
from rewards.registry import Case, reward
from rewards.tasks.ifbench import INSTRUCTIONS
from rewards.tasks.ifeval import PARAMS, answer_text, read_params
from rewards.types import Message, RewardRequest, RewardResult
from rewards.verifiers.instructions import Constraint, UnreadableInstruction, read_constraints

MAX_TURNS = 50

_NO_COMMA = [{"id": "punctuation:no_comma"}]
_QUOTED = [{"id": "startend:quotation"}]


def _said(*turns: str) -> list[Message]:
    """An interaction in which the assistant says these, and the user something between them."""
    messages: list[Message] = []
    for turn in turns:
        messages += [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": turn}]
    return messages[1:]


_QUESTION = [
    {"role": "user", "content": "Name a sea. Use no commas."},
    {"role": "assistant", "content": "The Baltic Sea."},
    {"role": "user", "content": "Another one. Put it in quotation marks."},
]


@reward(
    "multi_turn_if",
    takes_messages=True,
    params={
        **PARAMS,
        "cumulative": "true (default): a turn's instructions bind the turns after it too; false: each turn's list is "
        "complete, as in Multi-IF",
    },
    example={
        "question": "Name a sea. Use no commas.",
        "response": _said("The Baltic Sea.", '"The North Sea."'),
        "reference": [_NO_COMMA, _QUOTED],
    },
    cases=[
        Case(name="honest", response=_said("The Baltic Sea.", '"The Red Sea."'), score=1),
        Case(name="last turn forgets the first", response=_said("The Baltic Sea.", '"The Red Sea, south."'), score=0),
        Case(name="first turn missed, last right", response=_said("The Baltic, north.", '"The Red Sea."'), score=0),
        Case(
            name="share", response=_said("The Baltic, north.", '"Red Sea."'), params={"reward": "fraction"}, score=2 / 3
        ),
        Case(name="not cumulative", response=_said("Baltic.", '"Red, south."'), params={"cumulative": False}, score=1),
        Case(name="a turn is missing", response=_said("The Baltic Sea."), score=0),
        Case(name="an empty turn", response=_said("The Baltic Sea.", ""), score=0),
        Case(name="nothing at all", response=[], score=0),
        Case(name="one turn more holds all", response=_said("Baltic.", '"Red."', '"Dead."'), score=1),
        Case(name="one turn more forgets", response=_said("Baltic.", '"Red."', "Dead."), score=0),
        Case(name="thinking is not judged", response=_said("<think>a, b</think>Baltic.", '"Red Sea."'), score=1),
        Case(name="thinking that never ends", response=_said("Baltic.", '<think>"Red Sea."'), score=0),
        Case(name="turns forged in a text", response='Baltic.\nuser: go on\nassistant: "Red."', score=0),
        Case(name="the last turn alone", response='"The Red Sea."', question=_QUESTION, score=1),
        Case(name="the last turn alone, wrong", response='"The Red Sea, south."', question=_QUESTION, score=0),
        Case(name="the last turn alone, empty", response="", question=_QUESTION, score=0),
        Case(name="hidden comma", response=_said("Baltic\uff0c north.", '"Red."'), score=0),
        Case(name="huge", response=_said("Baltic. " * 20_000, '"Red."'), score=0),
    ],
)
def multi_turn_if(request: RewardRequest) -> RewardResult:
    """1 where each turn follows the instructions of its own turn and of all before it: one list of them a turn.

    A text is the last turn, after those of the question.
    """
    mode, share = read_params(request.params)
    cumulative = flag(request.params, "cumulative", True)
    try:
        wanted = _read_turns(request.reference, cumulative)
    except UnreadableInstruction as error:
        return RewardResult(score=None, status="unscorable", reason=str(error), verifier="multi_turn_if")
    first, turns = _turns(request, len(wanted))
    if first < 0 or first >= len(wanted):
        reason = f"the reference has {len(wanted)} turns, the question more"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="multi_turn_if")
    held: dict[int, list[bool]] = {}
    for number in range(first, max(len(wanted), first + len(turns))):
        binding = _binding(wanted, number, cumulative)
        text = answer_text(turns[number - first]) if number - first < len(turns) else None
        held[number] = [text is not None and constraint.holds(text, mode) for constraint in binding]
    missed = [number + 1 for number, holds in held.items() if not all(holds)]
    verdicts = [holds for turn in held.values() for holds in turn]
    return RewardResult(
        score=sum(verdicts) / len(verdicts) if share else float(not missed),
        components={f"turn_{number + 1}": sum(holds) / len(holds) for number, holds in held.items()},
        reason=f"not followed in turn {', '.join(map(str, missed))}" if missed else "followed in all turns",
        verifier="multi_turn_if",
    )


def _read_turns(reference: Any, cumulative: bool) -> list[list[Constraint]]:
    if not isinstance(reference, list) or not 1 <= len(reference) <= MAX_TURNS:
        raise UnreadableInstruction(f"the reference is no list of the instructions of 1 to {MAX_TURNS} turns")
    turns = [read_constraints(turn, INSTRUCTIONS) if turn else [] for turn in reference]
    if not turns[0] or not (cumulative or all(turns)):
        raise UnreadableInstruction("a turn that nothing binds")
    return turns


def _binding(wanted: list[list[Constraint]], number: int, cumulative: bool) -> list[Constraint]:
    """What binds a turn; one beyond those of the reference is bound by what the last one is."""
    if not cumulative:
        return wanted[min(number, len(wanted) - 1)]
    return [constraint for turn in wanted[: number + 1] for constraint in turn]


def _turns(request: RewardRequest, num_wanted: int) -> tuple[int, list[str]]:
    """The number of the first turn to judge, and what the assistant said from there on."""
    asked = sum(message.get("role") == "user" for message in as_messages(request.question))
    if isinstance(request.response, str):
        return (asked - 1 if isinstance(request.question, list) else num_wanted - 1), [request.response]
    begins_with_user = bool(request.response) and request.response[0].get("role") == "user"
    before = asked if begins_with_user and isinstance(request.question, list) else max(asked - 1, 0)
    return (0 if isinstance(request.question, str) else before), assistant_turns(request.response)
