"""Schoolwork for the demo of the whole recipe: questions, a scripted teacher, and held-out suites.

In the thinking sums and differences are worked out digit by digit, and words are spelled.
Whether a question is held out is a property of the question, so that nothing learned is ever asked.
"""

import random
import re

from rl.held_out import Row, Split, is_held_out, row_of
from rollout.types import Prompt

HELD_OUT_SHARE = 0.15
SYLLABLES = [first + vowel for first in "bdfklmnprst" for vowel in "aeiou"]
_CALCULATION = re.compile(r"(\d+) ([+-]) (\d+)\?")
_WORD = re.compile(r"(Repeat|Backwards): ([a-z]+)")
FLAGS = {"think": "/think", "no_think": "/no_think"}


def calculation(
    rng: random.Random, *, split: Split = "train", min_digits: int = 2, max_digits: int = 3, flag: str = ""
) -> Row:
    """A sum or a difference (never below 0) of two numbers (task `math`, domain addition or subtraction)."""

    def make() -> tuple[bool, Row]:
        digits = rng.randint(min_digits, max_digits)
        low, high = sorted(rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits) for _ in range(2))
        symbol = rng.choice("+-")
        # A sum may come either way round, and both ways are on one side.
        a, b = (high, low) if symbol == "-" or rng.random() < 0.5 else (low, high)
        value = a + b if symbol == "+" else a - b
        question = with_flag(f"What is {a} {symbol} {b}?", flag, rng)
        domain = "addition" if symbol == "+" else "subtraction"
        return is_held_out(HELD_OUT_SHARE, symbol, low, high), {
            "question": question,
            "reference": str(value),
            "task": "math",
            "domain": domain,
        }

    return row_of(split, make, f"calculation with {min_digits=}, {max_digits=}: choose larger ranges")


def word_task(rng: random.Random, *, split: Split = "train", kind: str = "any", flag: str = "") -> Row:
    """A word to be repeated, or written backwards (task `exact`, domain copying or reversal)."""

    def make() -> tuple[bool, Row]:
        word = "".join(rng.choice(SYLLABLES) for _ in range(2))
        chosen = rng.choice(("copying", "reversal")) if kind == "any" else kind
        question = f"Repeat: {word}" if chosen == "copying" else f"Backwards: {word}"
        reference = word if chosen == "copying" else word[::-1]
        row = {"question": with_flag(question, flag, rng), "reference": reference, "task": "exact", "domain": chosen}
        return is_held_out(HELD_OUT_SHARE, word), row

    return row_of(split, make, f"word task of {kind=}: choose another kind")


def mode_task(rng: random.Random, *, split: Split = "train") -> Row:
    """A question with one to three flags, the last of which says whether to think (task `think_format`)."""
    row = calculation(rng, split=split) if rng.random() < 0.5 else word_task(rng, split=split)
    modes = [rng.choice(sorted(FLAGS)) for _ in range(rng.randint(1, 3))]
    question = " ".join([row["question"], *(FLAGS[mode] for mode in modes)])
    return {"question": question, "reference": modes[-1], "task": "think_format", "domain": "modes"}


def with_flag(question: str, flag: str, rng: random.Random) -> str:
    """The question with a flag: think, no_think, any (one of both), or none."""
    if not flag:
        return question
    chosen = rng.choice(sorted(FLAGS)) if flag == "any" else flag
    if chosen not in FLAGS:
        raise ValueError(f"flag: unknown {flag!r}; known are {', '.join(FLAGS)}, any")
    return f"{question} {FLAGS[chosen]}"


def work(a: int, b: int, symbol: str) -> str:
    """The steps of a sum or difference, from the last digit, with what is carried."""
    steps, carry = [], 0
    x, y = str(a)[::-1], str(b)[::-1]
    for place in range(max(len(x), len(y))):
        p, q = (int(digits[place]) if place < len(digits) else 0 for digits in (x, y))
        value = p + q + carry if symbol == "+" else p - q - carry
        steps.append(f"{p}{symbol}{q}{symbol}{carry}={value}")
        carry = value // 10 if symbol == "+" else int(value < 0)
    return ", ".join(steps)


def spell(word: str, *, back: bool) -> str:
    """The letters of a word, and again in the order in which they are to be written."""
    letters = " ".join(word)
    return f"{letters}, back: {letters[::-1]}, so {word[::-1]}" if back else f"{letters}, so {word}"


def solve(question: str) -> tuple[str, str]:
    """The way to the answer of a question of ours, and the answer. Raises ValueError for another question."""
    if asked := _CALCULATION.search(question):
        a, symbol, b = int(asked[1]), asked[2], int(asked[3])
        value = a + b if symbol == "+" else a - b
        return f"{work(a, b, symbol)}, so {value}", str(value)
    if asked := _WORD.search(question):
        back = asked[1] == "Backwards"
        return spell(asked[2], back=back), asked[2][::-1] if back else asked[2]
    raise ValueError(f"sums, differences and words are all the teacher knows; got {question!r:.80}")


def teacher(rng: random.Random, prompt: Prompt, *, fault_rate: float = 0.25) -> str:
    """What the scripted teacher answers to a question: mostly the way and the result, at times a faulty response.

    The faults are those that the report's response filters are for (2505.09388 §4.1): a wrong answer, a repetition,
    a guess without reasoning, a thinking that says otherwise than the answer.
    """
    steps, answer = solve(prompt.messages[-1]["content"])
    if rng.random() < fault_rate:
        number = answer.isdecimal()
        wrong = str(int(answer) + rng.choice((-10, -1, 1, 10))) if number else answer + rng.choice(SYLLABLES)
        said = in_answer(wrong)
        return rng.choice(
            (
                f"<think>\n{steps}\n</think>\n\n{said}",
                f"<think>\n{', '.join([steps] * 8)}\n</think>\n\n{in_answer(answer)}",
                f"<think>\nI guess.\n</think>\n\n{in_answer(answer)}",
                f"<think>\n{steps}. So {said}\n</think>\n\n{in_answer(answer) if number else said}",
            )
        )
    return f"<think>\n{steps}\n</think>\n\n{in_answer(answer)}"


def in_answer(text: str) -> str:
    """Numbers go into a box, words stand alone: what `math` and `exact` read."""
    return f"\\boxed{{{text}}}" if text.lstrip("-").isdecimal() else text


def lesson(rng: random.Random) -> Row:
    """A question that is worked out in the thinking, as a conversation: the teacher without its mistakes."""
    row = word_task(rng) if rng.random() < 0.4 else calculation(rng)
    steps, answer = solve(row["question"])
    said = {"role": "assistant", "content": f"<think>\n{steps}\n</think>\n\n{in_answer(answer)}"}
    return {"messages": [{"role": "user", "content": row["question"]}, said], "thinking": True}


def plain_conversation(rng: random.Random, *, max_digits: int = 3) -> Row:
    """A solved question as a conversation without thinking, its flag not yet in it."""
    row = word_task(rng) if rng.random() < 0.5 else calculation(rng, min_digits=1, max_digits=max_digits)
    answer = {"role": "assistant", "content": in_answer(row["reference"])}
    messages = [{"role": "user", "content": row["question"]}, answer]
    return {"messages": messages, "thinking": False, "domain": row["domain"]}
