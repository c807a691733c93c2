"""The embedding model gives the vectors that it gave when it was reviewed."""

import numpy as np
import pytest

from asahi_cache.wiring import load_model


def test_vectors_are_the_known_ones_whatever_shares_their_batch() -> None:
    model = load_model(threads=1)
    texts = ["enable 2FA", "turn on 2FA", "disable 2FA", "How do I enable two-factor authentication on my account?"]
    together = model.embed(texts)
    assert together.shape == (4, 384)
    assert together[0][:5] == pytest.approx([-0.03264, -0.06381, -0.01972, -0.02253, 0.03936], abs=2e-3)
    assert float(together[0] @ together[1]) == pytest.approx(0.887, abs=5e-3)
    assert float(together[0] @ together[2]) == pytest.approx(0.910, abs=5e-3)
    assert float(together[0] @ together[3]) == pytest.approx(0.755, abs=5e-3)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert float(model.embed([text])[0] @ vector) == pytest.approx(1, abs=1e-4)
