"""Worked solutions by script: good ones, and one kind of bad one for each filter of a curation."""

import random
import re

from rollout.types import Prompt

LEAK = "A train leaves the old harbour at noon with ninety wagons; how many wagons does it have at four?"


def solution(rng: random.Random, prompt: Prompt, *, kinds: list[str] = ["good"], log: str = "") -> str:  # noqa: B006
    """A response of a kind drawn from `kinds`; `log` is a file that gets a line for each call."""
    if log:
        with open(log, "a") as file:
            file.write(prompt.id + "\n")
    a, sign, b = re.findall(r"(\d+) ([+*]) (\d+)", prompt.messages[-1]["content"])[0]
    return respond(rng.choice(kinds), int(a), sign, int(b))


def respond(kind: str, a: int, sign: str, b: int) -> str:
    value = a + b if sign == "+" else a * b
    steps = (
        f"We are asked for {a} {sign} {b}. I start from {a} and work through the second number, which is {b}, one part "
        f"after the other, and check it once more at the end. That gives {value}, so the answer is {value}."
    )
    summary = f"The result is \\boxed{{{value}}}."
    made = {
        "good": (steps, summary),
        "wrong": (steps.replace(str(value), str(value + 1000)), f"The result is \\boxed{{{value + 1000}}}."),
        "repetition": (steps + " Wait, let me look at all of this again from the start." * 40, summary),
        "guesswork": ("Easy.", summary),
        "owned_guess": (steps + " Well, I'll just guess.", summary),
        "disagreement": (steps.replace(f"answer is {value}", f"answer is {value + 7}"), summary),
        "unsupported": ("First I look at both numbers, then I do with them what is asked for, then I check it all once "
                        "more and write it down as it is.", summary),
        "language": (steps + " 然后我们把这两个数字放在一起仔细地计算，最后再检查一遍得到的结果是否正确。"
                     "为了放心，我们换一种方法重新验证每个步骤，看看是否与前面得到的数值完全相同。", summary),
        "style": (steps + "<|im_end|>", summary),
        "leak": (f"{steps} This is like the other one: {LEAK}", summary),
        "malformed": (steps + "</think> and on", summary),
    }  # fmt: skip
    thinking, answer = made[kind]
    return f"<think>\n{thinking}\n</think>\n\n{answer}"
