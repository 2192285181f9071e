"""Qwen3's thinking format: the mode that a conversation asks for, and what is wrong with a response. Linear."""

import re
import unicodedata
from collections.abc import Iterable

from rewards.conversation import message_text
from rewards.response import THINK_CLOSE, THINK_OPEN
from rewards.types import Message
from rewards.verifiers.segmentation import has_word, prepare

MODES = "think", "no_think"
OPENERS = "response", "prompt"
BLOCKS = "none", "open", "closed"  # where the prompt leaves the response: before, inside, behind a block

_FLAG = re.compile(r"(?<![\w/])/(?P<mode>no_think|think)(?![\w/])")
_TAG = re.compile(r"<\s{0,9}/?\s{0,9}think(?:ing|s)?\s{0,9}/?\s{0,9}>")
_FOLDED = str.maketrans("‹〈⟨《≪﹤˂ᐸ❮❰›〉⟩》≫﹥˃ᐳ❯❱∕⁄⧸тһіІɪıпοоηкκ", "<" * 10 + ">" * 10 + "///thiiiinoonkk")


def asked_mode(messages: Iterable[Message], default: str = "think") -> str:
    """The mode of the last `/think` or `/no_think` of users and system (2505.09388 §4.3); `default` without one."""
    mode = default
    for message in messages:
        if message.get("role") in ("user", "system"):
            for found in _FLAG.finditer(message_text(message)):
                mode = found["mode"]
    return mode


def block_of(mode: str, opened_by: str) -> str:
    """Where a prompt of that mode leaves the response, if the prompt is what opens blocks: `no_think` closes it too."""
    return "none" if opened_by == "response" else "open" if mode == "think" else "closed"


def format_fault(text: str, mode: str, block: str = "none") -> str | None:
    """What is wrong with a response's thinking block; None where nothing is.

    One block, at the very start, with words in it exactly in mode `think`, and an answer after it. Where the prompt
    has left it `open`, the response begins inside it; where it is `closed`, the mode is `no_think` and there is no tag.
    """
    opens, closes = text.count(THINK_OPEN), text.count(THINK_CLOSE)
    if len(_TAG.findall(_folded(text))) > opens + closes:
        return "a look-alike of a tag"
    prefix = {"none": "", "open": THINK_OPEN, "closed": THINK_OPEN + THINK_CLOSE}[block]
    wanted = 1 - prefix.count(THINK_OPEN), 1 - prefix.count(THINK_CLOSE)
    if (opens, closes) != wanted:
        return f"{opens} opening and {closes} closing tags, expected {wanted[0]} and {wanted[1]}"
    text = (prefix + text).lstrip()
    if not text.startswith(THINK_OPEN):
        return "text before the thinking"
    thinking, _, answer = text.removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    if mode == "think" and not has_word(prepare(thinking)):
        return "thinking without a word"
    if mode == "no_think" and thinking.strip():
        return "thinking where none was asked for"
    if not has_word(prepare(answer)):
        return "no answer after the thinking"
    return None


def _folded(text: str) -> str:
    """Text with tags as they look: NFKC, lower case, without what cannot be seen, look-alikes as ASCII."""
    seen = unicodedata.normalize("NFD", prepare(text).translate(_FOLDED).lower())
    return "".join(character for character in seen if not unicodedata.combining(character))
