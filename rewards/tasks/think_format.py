"""Task `think_format`: the response thinks, or does not, as the conversation's last flag asks."""

from rewards.conversation import as_messages, message_text
from rewards.params import choice
from rewards.registry import Case, reward
from rewards.types import Message, RewardRequest, RewardResult
from rewards.verifiers.think_format import BLOCKS, MODES, OPENERS, asked_mode, block_of, format_fault

_NO_THINK = "Name a sea. /no_think"
_FLAGS: list[Message] = [
    {"role": "system", "content": "You are brief. /think"},
    {"role": "user", "content": "Name a sea. /no_think"},
    {"role": "assistant", "content": "<think>\n\n</think>\n\nThe Red Sea. /no_think"},
    {"role": "user", "content": "Another. /no_think /think"},
]
_PROMPT = {"opened_by": "prompt"}
_OPEN, _CLOSED = {"think_block": "open"}, {"think_block": "closed"}


def _turns(first: str, second: str) -> list[Message]:
    asked = {"role": "user", "content": "Another. /no_think"}
    return [{"role": "assistant", "content": first}, asked, {"role": "assistant", "content": second}]


@reward(
    "think_format",
    takes_messages=True,
    params={
        "default": "think (default) or no_think: the mode of a conversation without a flag",
        "think_block": "where the prompt leaves the response, as the trainer says of each: none (default), before a "
        "block; open, inside one; closed, behind one, whatever flags and reference say",
        "opened_by": "instead; response: it holds the whole block; prompt: the chat template has opened "
        "it, and for no_think closed it",
    },
    example={"question": "Name a sea. /think", "response": "<think>\nA big one.\n</think>\n\nThe Baltic Sea."},
    cases=[
        Case(name="honest", response="<think>\nHm.\n</think>\n\nThe Red Sea.", score=1),
        Case(name="no thinking", response="The Red Sea.", score=0),
        Case(name="empty", response="", score=0),
        Case(name="empty block", response="<think>\n\n</think>\n\nThe Red Sea.", score=0),
        Case(name="blank block, zero width", response="<think> \u200b\u3164 </think>Red.", score=0),
        Case(name="block of marks", response="<think>...</think>The Red Sea.", score=0),
        Case(name="thinking never ends", response="<think>\nHm. The Red Sea.", score=0),
        Case(name="never begins", response="Hm.</think>The Red Sea.", score=0),
        Case(name="all in the thinking", response="<think>Hm. The Red Sea.</think>\n", score=0),
        Case(name="text before", response="Well. <think>Hm.</think>Red.", score=0),
        Case(name="two blocks", response="<think>Hm.</think><think>Ah.</think>Red.", score=0),
        Case(name="nested", response="<think>Hm. <think>Ah.</think></think>Red.", score=0),
        Case(name="tag in a code fence", response="<think>Hm.</think>Red.\n```\n<think>\n```", score=0),
        Case(name="all in a code fence", response="```\n<think>Hm.</think>Red.\n```", score=0),
        Case(name="full-width tags", response="\uff1cthink\uff1eHm.\uff1c/think\uff1eRed.", score=0),
        Case(name="look-alike beside", response="<think>Hm.</think><th\u0456nk>Ah.</th\u0456nk>Red.", score=0),
        Case(name="capitals beside", response="<think>Hm.</think>< THINK >Ah.</ THINK >Red.", score=0),
        Case(name="zero width in a tag", response="<think>Hm.</think><thi\u200bnk>Ah.Red.", score=0),
        Case(name="flag by the model", response="/no_think <think></think>Red.", score=0),
        Case(name="huge", response="<think>" * 50_000, score=0),
        Case(name="hostile blanks", response="<" + " " * 200_000, score=0),
        Case(name="no_think", question=_NO_THINK, response="<think>\n\n</think>\n\nThe Red Sea.", score=1),
        Case(name="no_think, thought", question=_NO_THINK, response="<think>Hm.</think>Red.", score=0),
        Case(name="no_think, hidden", question=_NO_THINK, response="<think>\u200b</think>Red.", score=0),
        Case(name="no_think, no block", question=_NO_THINK, response="The Red Sea.", score=0),
        Case(name="last flag wins", question=_FLAGS, response="<think>Hm.</think>Dead Sea.", score=1),
        Case(name="an earlier flag", question=_FLAGS, response="<think></think>Dead Sea.", score=0),
        Case(name="a path is no flag", question="See a/no_think/b.", response="<think>Hm.</think>Yes.", score=1),
        Case(name="default", question="Sea?", response="<think></think>Red.", params={"default": "no_think"}, score=1),
        Case(name="opened by the prompt", response="Hm.</think>Red.", params=_PROMPT, score=1),
        Case(name="opened twice", response="<think>Hm.</think>Red.", params=_PROMPT, score=0),
        Case(name="closed by the prompt", question=_NO_THINK, response="Red.", params=_PROMPT, score=1),
        Case(name="an open block", response="Hm.</think>Red.", params=_OPEN, score=1),
        Case(name="an open block, reopened", response="<think>Hm.</think>Red.", params=_OPEN, score=0),
        Case(name="an open block, left empty", question=_NO_THINK, response="</think>Red.", params=_OPEN, score=1),
        Case(name="an open block, never closed", question=_NO_THINK, response="Red.", params=_OPEN, score=0),
        Case(name="a closed block", response="The Red Sea.", params=_CLOSED, score=1),
        Case(name="a closed block, then a second", response="<think>Hm.</think>Red.", params=_CLOSED, score=0),
        Case(name="a closed block, closed again", response="Hm.</think>Red.", params=_CLOSED, score=0),
        Case(name="a closed block, no answer", response=" ", params=_CLOSED, score=0),
        Case(name="a closed block over a flag", question="Sea? /think", response="Red.", params=_CLOSED, score=1),
        Case(
            name="opened_by over a block",
            response="<think>Hm.</think>Red.",
            params={"opened_by": "response", "think_block": "closed"},
            score=1,
        ),
        Case(name="turns behind closed blocks", response=_turns("Red.", "Dead."), params=_CLOSED, score=1),
        Case(name="turns", response=_turns("<think>Hm.</think>Red.", "<think></think>Dead."), score=1),
        Case(name="second turn wrong", response=_turns("<think>Hm.</think>Red.", "<think>Hm.</think>Dead."), score=0),
        Case(name="first turn wrong", response=_turns("Red.", "<think></think>Dead."), score=0),
        Case(name="no turn", response=[], score=0),
    ],
)
def think_format(request: RewardRequest) -> RewardResult:
    """1 where the response begins with one `<think>` block, empty exactly if the last flag says so, then answers.

    In an interaction, each of the assistant's messages is judged by the flags before it. The reference may name the
    mode; without one (null), the conversation's flags do. Behind a block that the prompt has closed there is nothing to
    think in: as Qwen3's model card has it, flags do not count there.
    """
    default = choice(request.params, "default", MODES)
    block = choice(request.params, "think_block", BLOCKS)
    opened_by = choice(request.params, "opened_by", OPENERS) if "opened_by" in request.params else None
    if request.reference is not None and request.reference not in MODES:
        reason = f"the reference is neither null nor one of {', '.join(MODES)}"
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="think_format")
    closed = block == "closed" and opened_by is None
    forced = "no_think" if closed else request.reference
    messages = as_messages(request.question)
    response = request.response
    turns: list[Message] = [{"role": "assistant", "content": response}] if isinstance(response, str) else response
    reasons, num_turns = [], 0
    mode = asked_mode(messages, default)
    for message in turns:
        mode = asked_mode([message], mode)
        if message.get("role") != "assistant":
            continue
        num_turns += 1
        asked = forced or mode
        left = block if opened_by is None else block_of(asked, opened_by)
        fault = format_fault(message_text(message), asked, left)
        if fault:
            reasons.append(f"turn {num_turns}: {fault}" if len(turns) > 1 else fault)
    if num_turns == 0:
        return RewardResult(score=0, reason="no response", verifier="think_format")
    reason = "; ".join(reasons) or f"as {forced or mode} asks"
    return RewardResult(score=float(not reasons), reason=reason[:500], verifier="think_format")
