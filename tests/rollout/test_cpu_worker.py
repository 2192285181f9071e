"""The sampler of the CPU worker: the distribution it draws from, and its seeds."""

import pytest
import torch

from rollout.cpu_worker import ROWS, invert, sample

PROBS = torch.tensor([0.1, 0.0, 0.6, 0.0, 0.3])


def draw(logits, *, seeds=None, k=None, p=None):
    generators = {row: torch.Generator().manual_seed(seed) for row, seed in enumerate(seeds or [])}
    return sample(logits.clone(), generators, k, p, logprobs_mode="processed_logprobs")


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.0999, 0), (0.1001, 2), (0.6999, 2), (0.7001, 4), (1 - 2**-53, 4)]
)
def test_the_distribution_function_is_inverted(uniform, token):
    tokens = invert(PROBS.log()[None], torch.tensor([uniform], dtype=torch.float64))
    assert tokens.tolist() == [token], "tokens 1 and 3 have no probability"


def test_tokens_come_as_often_as_they_should():
    count = 40_000
    tokens, _ = draw(PROBS.log().expand(count, -1))
    frequencies = torch.bincount(tokens, minlength=5) / count
    deviation = (PROBS * (1 - PROBS) / count).sqrt()
    assert ((frequencies - PROBS).abs() <= 5 * deviation).all()


def test_a_large_vocabulary_is_reached_to_its_last_token():
    logits = torch.zeros(4000, 1000)
    tokens, _ = draw(logits)
    assert (tokens.min(), tokens.max()) == (0, 999)
    assert abs(tokens.double().mean() - 499.5) < 5 * 1000 / 12**0.5 / 4000**0.5


def test_a_seeded_row_does_not_depend_on_the_others():
    logits = torch.randn(2 * ROWS + 3, 50, generator=torch.Generator().manual_seed(0))
    crowd, _ = draw(logits, seeds=range(len(logits)))
    for row in (0, ROWS, len(logits) - 1):
        generators = {0: torch.Generator().manual_seed(row)}
        alone, _ = sample(logits[row : row + 1].clone(), generators, None, None, logprobs_mode="processed_logprobs")
        assert alone.tolist() == crowd[row : row + 1].tolist()
    assert torch.equal(draw(logits, seeds=range(len(logits)))[0], crowd)


def test_logprobs_are_those_of_the_distribution_drawn_from():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(200, 1)
    tokens, logprobs = draw(logits, k=torch.full((200,), 2))
    assert set(tokens.tolist()) == {0, 1}
    torch.testing.assert_close(logprobs[0, :2], torch.tensor([3.0, 2.0]).log_softmax(-1))
    assert logprobs[0, 2:].tolist() == [float("-inf")] * 2
