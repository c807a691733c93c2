"""Questions of made-up topics: some the cheap model answers as well as the dear one, some not."""

import numpy as np

from asahi_router.domain.form import FORM_SIZE, form_of
from asahi_router.domain.learning.basis import DIMENSIONS, Floats
from asahi_router.domain.learning.learned import Measured

DEAR, CHEAP = "gpt-6.1-sol", "gpt-6-luna"
TOPICS = 12


class World:
    """Topics, half of them easy: there both models are right nine times of ten, elsewhere the cheap one is half so."""

    def __init__(self, seed: int, *, easy: int = TOPICS // 2) -> None:
        self._random = np.random.default_rng(seed)
        self._middles = np.random.default_rng(0).normal(size=(TOPICS, DIMENSIONS))
        self.easy = easy

    def asked(self, count: int) -> tuple[Floats, np.ndarray]:
        """Embeddings (count, 384), and the topic of each."""
        topics = self._random.integers(0, TOPICS, count)
        return _of_length_1(self._middles[topics] + 0.7 * self._random.normal(size=(count, DIMENSIONS))), topics

    def strange(self, count: int) -> Floats:
        """Embeddings of questions about nothing that there is."""
        return _of_length_1(self._random.normal(size=(count, DIMENSIONS)))

    def right(self, topics: np.ndarray) -> Floats:
        """(n, 2): how good the answers of the dear and the cheap model are, 0 or 1."""
        chance = np.stack([np.full(len(topics), 0.9), np.where(topics < self.easy, 0.9, 0.45)], axis=1)
        return (self._random.random(chance.shape) < chance).astype(np.float32)

    def measured(self, count: int, *, known: float = 1.0) -> Measured:
        """A memory; of each question one model's outcome is known, or with `known` 1 those of both."""
        embeddings, topics = self.asked(count)
        quality = self.right(topics)
        if known < 1:
            one = self._random.random(count) < known
            quality[one, 1], quality[~one, 0] = np.nan, np.nan
        forms = np.tile(np.array(form_of("What is it?", "knowledge"), np.float32), (count, 1))
        assert forms.shape[1] == FORM_SIZE
        tokens = np.full((count, 2), 100, np.float32)
        return Measured((DEAR, CHEAP), forms, embeddings, quality, tokens, np.arange(count))


def _of_length_1(vectors: np.ndarray) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
