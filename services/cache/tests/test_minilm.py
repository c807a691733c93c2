"""The embedding model gives the vectors that it gave when it was reviewed."""

import numpy as np
import onnxruntime
import pytest

from asahi_cache.stores.minilm import MODEL_FILE, WORDS, checked
from asahi_cache.stores.onnx_graph import look_up_before_widening
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


def test_looking_words_up_before_widening_them_changes_no_number() -> None:
    content = checked(*MODEL_FILE)
    ids = np.array([[101, 2054, 2003, 1996, 3007, 30521, 0, 102]], dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    as_it_comes, changed = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(["last_hidden_state"], feed)[0]
        for model in (content, look_up_before_widening(content, WORDS))
    )
    assert np.array_equal(as_it_comes, changed)


def test_a_model_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no\.such\.table is not read by one Cast alone"):
        look_up_before_widening(checked(*MODEL_FILE), "no.such.table")
