"""Mixing by weight: which source draw k comes from, as a function of the weights, the seed and k alone."""

from collections.abc import Sequence

import numpy as np

from rl.seeds import derive_seed

BLOCK = 4096  # choices of a source that are made together


class Mixture:
    """Draws of several sources in proportion to their weights; each source's own draws are numbered from 0."""

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self.seed, self.num_sources = seed, len(weights)
        shares = np.array(weights)
        self._bounds = np.cumsum(shares / shares.sum())[:-1]
        self._counts = [np.zeros(self.num_sources, dtype=np.int64)]  # draws of each source before each block

    def locate(self, index: int) -> tuple[int, int]:
        """Which source draw `index` comes from, and how many draws of that source come before it."""
        block, offset = divmod(index, BLOCK)
        while len(self._counts) <= block:
            choices = self._choices(len(self._counts) - 1)
            self._counts.append(self._counts[-1] + np.bincount(choices, minlength=self.num_sources))
        choices = self._choices(block)
        source = int(choices[offset])
        return source, int(self._counts[block][source] + np.count_nonzero(choices[:offset] == source))

    def _choices(self, block: int) -> np.ndarray:
        generator = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "mix", block)))
        return np.searchsorted(self._bounds, generator.random(BLOCK), side="right")


class Epochs:
    """Positions 0, 1, ... over rows that repeat, each epoch in an order of its own, or always as they are."""

    def __init__(self, num_rows: int, label: str, seed: int, *, shuffle: bool) -> None:
        self.num_rows, self.label, self.seed, self.shuffle = num_rows, label, seed, shuffle
        self._order: tuple[int, np.ndarray] = (-1, np.arange(num_rows))

    def row(self, position: int) -> int:
        """Which row stands at that position of the endless sequence."""
        epoch, place = divmod(position, self.num_rows)
        if not self.shuffle:
            return place
        if self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64(derive_seed(self.seed, self.label, epoch)))
            self._order = (epoch, generator.permutation(self.num_rows))
        return int(self._order[1][place])
