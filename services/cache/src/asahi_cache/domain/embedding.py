"""What the service needs of an embedding model: meaning as a vector, two of which are compared by their product."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # numpy comes with the extra `semantic`, and the service runs without it
    import numpy as np
    from numpy.typing import NDArray

LOCAL_MODEL = "all-MiniLM-L6-v2-int8"
"""The model that the service brings along."""
LOCAL_DIMENSIONS = 384


class ModelMissing(Exception):
    """The model cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Texts as a model read them, in their order."""

    vectors: "NDArray[np.float32]"
    """(n, dimensions), each row of length 1."""
    tokens: Sequence[int]
    """How many tokens the model read of each, its two marks included."""
    cut: Sequence[bool]
    """Whether a text goes on behind what the model read of it."""


class Embedder(Protocol):
    """A model that embeds one or more texts at a time; where there is none, every call says why."""

    @property
    def model(self) -> str:
        """Its name: vectors of different models are never compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """(n, dimensions) float32, each row of length 1. Waits while the model is being loaded.

        Raises:
            InvalidRequest: the texts are more than may wait at all.
            ServiceUnavailable: there is no model; the message says why.
            Overloaded: too much is waiting already.
        """
        ...

    async def read(self, texts: Sequence[str]) -> Embedded:
        """As `embed`, and how much of each text the model read.

        Raises:
            InvalidRequest, ServiceUnavailable, Overloaded: as `embed`.
        """
        ...
