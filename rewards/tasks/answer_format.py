"""Task `answer_format_regex_template`: the whole answer has a given form."""

import json
from collections.abc import Mapping
from typing import Any

from rewards.params import choice
from rewards.registry import Case, reward
from rewards.response import split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.patterns import UnreadablePattern, match_pattern, match_template

MAX_ANSWER_CHARS = 65_536
MAX_SHOWN_CHARS = 1_000
SCOPES = "answer", "response"

_REGEX = {"regex": r"[a-z]+(?:, [a-z]+)*\."}
_HOSTILE = {"regex": r"(a+)+b"}
_TEMPLATE = {"template": "Answer: {answer:integer}\nConfidence: {level:integer}%"}
_MULTILINE = {"regex": r"(?m)^ok$"}


@reward(
    "answer_format_regex_template",
    params={"scope": "answer (default): what follows the thinking; response: all of it, as it is"},
    example={
        "question": "How sure are you that 2 + 2 = 4?",
        "response": "Answer: 4\nConfidence: 99%",
        "reference": _TEMPLATE,
    },
    cases=[
        Case(name="honest", response="Answer: 4\nConfidence: 80%", score=1),
        Case(name="after the thinking", response="<think>Hm.</think>\nAnswer: 4\nConfidence: 80%", score=1),
        Case(name="thinking never ends", response="<think>Answer: 4\nConfidence: 80%", score=0),
        Case(name="empty", response="", score=0),
        Case(name="the template itself", response=_TEMPLATE["template"], score=0),
        Case(name="a field is empty", response="Answer: \nConfidence: 80%", score=0),
        Case(name="junk before", response="Sure!\nAnswer: 4\nConfidence: 80%", score=0),
        Case(name="junk after", response="Answer: 4\nConfidence: 80%\nand so on", score=0),
        Case(name="full-width digits", response="Answer: \uff14\nConfidence: 80%", score=0),
        Case(name="look-alike label", response="\u0410nswer: 4\nConfidence: 80%", score=0),
        Case(name="zero width", response="Answer:\u200b 4\nConfidence: 80%", score=0),
        Case(name="invisible field", response="It is \u200b.", reference={"template": "It is {what}."}, score=0),
        Case(name="one name, one value", response="a and a", reference={"template": "{x} and {x}"}, score=1),
        Case(name="one name, two values", response="a and b", reference={"template": "{x} and {x}"}, score=0),
        Case(name="braces", response="{a}", reference={"template": "{{{x:letter}}}"}, score=1),
        Case(name="regex", response="red, blue.", reference=_REGEX, score=1),
        Case(name="regex as text", response="red", reference="[a-z]+", score=1),
        Case(name="regex matches a part", response="1 red, blue. 2", reference=_REGEX, score=0),
        Case(name="lines around a multiline match", response="no\nok\nno", reference=_MULTILINE, score=0),
        Case(name="multiline match alone", response="ok", reference=_MULTILINE, score=1),
        Case(name="hostile to backtracking", response="a" * 60_000, reference=_HOSTILE, score=0),
        Case(name="huge", response="a" * 100_000, reference="a+", score=0),
        Case(name="injected", response=".*", reference=_REGEX, score=0),
        Case(name="line end in the response", response="ok\n", reference="ok", params={"scope": "response"}, score=0),
        Case(name="whole response", response="ok", reference="ok", params={"scope": "response"}, score=1),
    ],
)
def answer_format_regex_template(request: RewardRequest) -> RewardResult:
    """1 where the whole answer matches the reference's `{"regex": ...}` (RE2 syntax) or `{"template": ...}`, else 0.

    In a template, `{name}` stands for part of a line, `{name:kind}` for a line, text, word, integer, number or letter.
    """
    assert isinstance(request.response, str), "checked by the scorer"
    scope = choice(request.params, "scope", SCOPES)
    answer = split_response(request.response).answer if scope == "answer" else request.response
    try:
        kind, form = _read_form(request.reference)
        match = match_template if kind == "template" else match_pattern
        usable = answer is not None and 0 < len(answer) <= MAX_ANSWER_CHARS
        found = match(form, answer if usable and answer else "")
    except UnreadablePattern as error:
        reason = str(error)
        return RewardResult(score=None, status="unscorable", reason=reason, verifier="answer_format_regex_template")
    if not usable or answer is None:
        return RewardResult(score=0, reason="no answer, or a huge one", verifier="answer_format_regex_template")
    return RewardResult(
        score=float(found is not None),
        extracted=json.dumps(found, ensure_ascii=False)[:MAX_SHOWN_CHARS] if found else answer[:MAX_SHOWN_CHARS],
        reason=f"{'matches' if found is not None else 'does not match'} the {kind}",
        verifier="answer_format_regex_template",
    )


def _read_form(reference: Any) -> tuple[str, str]:
    """The kind of form and the form. Raises UnreadablePattern."""
    if isinstance(reference, str):
        reference = {"regex": reference}
    if not isinstance(reference, Mapping) or len(reference) != 1 or not set(reference) <= {"regex", "template"}:
        raise UnreadablePattern('the reference is neither a regex nor {"regex"} nor {"template"}')
    ((kind, form),) = reference.items()
    if not isinstance(form, str) or not form:
        raise UnreadablePattern(f"the {kind} is no text, or an empty one")
    return kind, form
