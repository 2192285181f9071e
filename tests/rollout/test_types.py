"""Samples and prompts: what cannot be is refused where it is made."""

import pytest
from pydantic import ValidationError

from rollout.types import Group, Prompt, Sample, SamplingParams, prompt_id
from tests.fakes import make_sample

MESSAGES = ({"role": "user", "content": "1 + 1?"},)
GOOD = {
    "token_ids": (5, 6),
    "logprobs": (-0.1, -0.2),
    "sampled": (True, False),
    "text": "x",
    "finish_reason": "stop",
    "policy_version": 0,
}


def test_the_response_length_counts_what_the_policy_sampled():
    assert Sample(**GOOD).num_sampled == 1


@pytest.mark.parametrize(
    "change", [{"logprobs": (-0.1,)}, {"sampled": (True,)}, {"token_ids": (), "logprobs": (), "sampled": ()}]
)
def test_a_sample_that_cannot_be_is_refused(change):
    with pytest.raises(AssertionError, match=r"one length|at least one token"):
        Sample(**GOOD | change)


def test_an_empty_group_is_refused():
    prompt = Prompt(id="p", messages=MESSAGES, task="math", reference="2")
    with pytest.raises(AssertionError, match="group of prompt p holds no sample"):
        Group(prompt=prompt, prompt_token_ids=(1,), think_block="none", samples=())
    with pytest.raises(AssertionError, match="prompt p has no tokens"):
        Group(prompt=prompt, prompt_token_ids=(), think_block="none", samples=(make_sample("a"),))


def test_an_id_is_a_function_of_the_content_and_never_changes():
    assert prompt_id(MESSAGES, "math", "2") == "682b09b22b35b8d8"
    assert prompt_id([{"content": "1 + 1?", "role": "user"}], "math", "2") == prompt_id(MESSAGES, "math", "2")
    others = [(MESSAGES, "exact", "2"), (MESSAGES, "math", 2), (MESSAGES, "math", None), (MESSAGES * 2, "math", "2")]
    assert len({prompt_id(*other) for other in others} | {prompt_id(MESSAGES, "math", "2")}) == 5


def test_an_id_survives_a_lone_surrogate():
    assert len(prompt_id([{"role": "user", "content": "\ud800"}], "math", "2")) == 16


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_p": 0}, {"top_k": -2}, {"max_tokens": 0}, {"topp": 1}])
def test_sampling_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValidationError):
        SamplingParams.model_validate(bad)
