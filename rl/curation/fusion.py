"""Thinking-mode fusion (Qwen3, 2505.09388 §4.3, Table 9): solved queries with and without thinking, and their flags.

Which flags a sample gets, how many turns it has and where its flags stand is drawn from a seed. The shares are ours:
the report publishes none.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rl.conversations import to_conversation, without_thinking
from rl.curation.candidates import Candidate
from rl.curation.funnel import Funnel
from rl.curation.similarity import HeldOut
from rl.files import Row
from rollout.chat import FLAGS
from rollout.types import Message, prompt_id

EMPTY_BLOCK = "<think>\n\n</think>\n\n"


class FlagsConfig(BaseModel):
    """Shares of the samples. Thinking is the default mode, so some thinking samples carry no flag (§4.3).

    `unflagged_share` of thinking samples have no flag; `prefilled_share` of samples without thinking have none either:
    their empty block is part of the prompt, as where a user turns thinking off in the template. `system_share` of the
    flags stand in a system message. `multi_turn_share` of all samples have two to `max_turns` turns, each with zero to
    two flags at random; the last flag so far rules each turn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unflagged_share: float = Field(0.3, ge=0, le=1)
    prefilled_share: float = Field(0.1, ge=0, le=1)
    system_share: float = Field(0.1, ge=0, le=1)
    multi_turn_share: float = Field(0.1, ge=0, le=1)
    max_turns: int = Field(3, ge=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A query with a response that was accepted: `content` holds the think block where there is one."""

    id: str
    prompt: tuple[Message, ...]  # ends with the user's turn
    content: str
    thinking: bool
    domain: str = ""


def of_candidate(candidate: Candidate) -> Solved:
    """An accepted response to a query, with its thinking in one block."""
    prompt = candidate.query.prompt.messages
    return Solved(id=candidate.id, prompt=prompt, content=candidate.content, thinking=True, domain=candidate.domain)


def of_direct(candidate: Candidate) -> Solved:
    """An accepted response to a query with thinking off."""
    identity, prompt, domain = f"{candidate.id}-direct", candidate.query.prompt.messages, candidate.domain
    return Solved(id=identity, prompt=prompt, content=candidate.text.strip(), thinking=False, domain=domain)


def of_row(row: Row, where: str) -> Solved:
    """A conversation as a sample without thinking: what it may have thought in its last turn is left out."""
    conversation = to_conversation(row, where)
    *prompt, last = conversation.messages
    answer = without_thinking(last["content"])
    domain = str(row.get("domain") or "plain")
    identity = prompt_id(conversation.messages, "plain", None)  # rows of several files may share their ids
    return Solved(id=identity, prompt=tuple(prompt), content=answer, thinking=False, domain=domain)


def keep_unseen_conversations(conversations: Sequence[Solved], held_out: HeldOut, funnel: Funnel) -> list[Solved]:
    """Those of which no turn of a user is near a held-out question, and which hold none word for word."""

    def is_near(solved: Solved) -> bool:
        turns = [message["content"] for message in solved.prompt]
        asked = [message["content"] for message in solved.prompt if message["role"] == "user"]
        return any(map(held_out.near_question, asked)) or held_out.near_text("\n".join([*turns, solved.content]))

    reasons = ["near_held_out" if is_near(each) else None for each in conversations]
    return funnel.sift("held out, plain", "conversations", conversations, reasons)


def fuse(thinking: Sequence[Solved], plain: Sequence[Solved], config: FlagsConfig, seed: int) -> list[dict[str, Any]]:
    """Rows for SFT, each sample's turn at least once as a last turn, in an order drawn from the seed."""
    rng = random.Random(seed)
    # What was asked after other turns means nothing without them.
    pools = {True: list(filter(_stands_alone, thinking)), False: list(filter(_stands_alone, plain))}
    rows = []
    for solved in [*thinking, *plain]:
        several = rng.random() < config.multi_turn_share and all(pools.values())
        rows.append(_many_turns(solved, pools, config, rng) if several else _one_turn(solved, config, rng))
    rng.shuffle(rows)
    return rows


def _stands_alone(solved: Solved) -> bool:
    return all(message["role"] != "assistant" for message in solved.prompt)


def _one_turn(solved: Solved, config: FlagsConfig, rng: random.Random) -> dict[str, Any]:
    bare = rng.random() < (config.unflagged_share if solved.thinking else config.prefilled_share)
    messages = list(solved.prompt) if bare else add_flag(solved.prompt, FLAGS[solved.thinking], config, rng)
    prefilled = bare and not solved.thinking
    flags = "none" if bare else "one"
    return _row(solved, messages, thinking=False if prefilled else None, flags=flags)


def _many_turns(
    last: Solved, pools: dict[bool, list[Solved]], config: FlagsConfig, rng: random.Random
) -> dict[str, Any]:
    """Turns of other samples before all of its own, which its last one may be about.

    Flags fall at random; the last turn gets one where else its mode were wrong.
    """
    messages: list[Message] = []
    mode = True
    for _ in range(rng.randint(2, config.max_turns) - 1):
        flags = [rng.choice((True, False)) for _ in range(rng.randint(0, 2))]
        mode = flags[-1] if flags else mode
        earlier = rng.choice(pools[mode])
        question = " ".join([earlier.prompt[-1]["content"], *(FLAGS[flag] for flag in flags)])
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": _content(earlier)}]
    flags = [rng.choice((True, False)) for _ in range(rng.randint(0, 2))]
    if (flags[-1] if flags else mode) != last.thinking:
        flags.append(last.thinking)
    question = " ".join([last.prompt[-1]["content"], *(FLAGS[flag] for flag in flags)])
    opening = [message for message in last.prompt[:-1] if message["role"] == "system"]
    own = [message for message in last.prompt[:-1] if message["role"] != "system"]
    turns = [*opening, *messages, *own, {"role": "user", "content": question}]
    return _row(last, turns, thinking=None, flags="several")


def add_flag(prompt: Sequence[Message], flag: str, config: FlagsConfig, rng: random.Random) -> list[Message]:
    """The prompt with a flag at the end of its last turn, or of its system message, which it may have to get."""
    messages = [dict(message) for message in prompt]
    if rng.random() < config.system_share:
        if messages[0]["role"] != "system":
            return [{"role": "system", "content": flag}, *messages]
        messages[0]["content"] += f" {flag}"
    else:
        messages[-1]["content"] += f" {flag}"
    return list(messages)


def _content(solved: Solved) -> str:
    return solved.content if solved.thinking else EMPTY_BLOCK + solved.content


def _row(solved: Solved, messages: Sequence[Message], *, thinking: bool | None, flags: str) -> dict[str, Any]:
    content = solved.content if thinking is False else _content(solved)
    return {
        "id": solved.id,
        "messages": [*map(dict, messages), {"role": "assistant", "content": content}],
        "thinking": thinking,
        "mode": "think" if solved.thinking else "no_think",
        "flags": flags,
        "num_turns": sum(message["role"] == "user" for message in messages),
        "domain": solved.domain,
    }
