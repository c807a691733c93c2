"""Stored questions and how near others come to them: what tier 2 needs of a vector store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from asahi_cache.domain.tiers import Selection

if TYPE_CHECKING:  # numpy comes with the extra `semantic`, and the service runs without it
    import numpy as np
    from numpy.typing import NDArray


class StoreUnavailable(Exception):
    """The store cannot be asked now; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A question whose answer tier 1 keeps."""

    organization_id: str
    scope: bytes
    """SHA-256 over everything in the request except the question; 32 bytes."""
    fingerprint: bytes
    """Of the request, by which tier 1 finds the answer; 32 bytes."""
    text: str
    created_at_ns: int
    """When the answer was given, ns since 1970."""
    expires_at_ns: int
    """When it may be served no longer, ns since 1970."""
    labels: tuple[bytes, ...]
    """What it can be dropped by (`domain.labels`)."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored question and how near it is."""

    question: StoredQuestion
    cosine: float


class VectorStore(Protocol):
    """Keeps questions by the vectors of their meaning. Every method raises StoreUnavailable, and nothing else."""

    async def holds(self, organization_id: str, scope: bytes, now_ns: int) -> bool:
        """Whether anything in the scope has not expired."""
        ...

    async def nearest(
        self, organization_id: str, scope: bytes, vector: "NDArray[np.float32]", now_ns: int, most: int
    ) -> Sequence[Neighbour]:
        """What in the scope has not expired, nearest first, at most `most`."""
        ...

    async def keep(self, question: StoredQuestion, vector: "NDArray[np.float32]") -> None:
        """Keeps the question, in place of one with the same fingerprint."""
        ...

    async def forget(self, organization_id: str, fingerprint: bytes) -> None:
        """Drops one question."""
        ...

    async def drop(self, selection: Selection) -> None:
        """Drops what is selected."""
        ...

    async def expire(self, now_ns: int) -> None:
        """Drops what has expired."""
        ...

    async def scroll(self, after: str, most: int) -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
        """Questions of all organisations with their vectors, and what to pass as `after` next; empty: that was all."""
        ...

    async def close(self) -> None:
        """Lets go of files and connections."""
        ...


class PatientStore(VectorStore, Protocol):
    """A `VectorStore` that lets no lookup wait long for it."""

    async def nearest(
        self,
        organization_id: str,
        scope: bytes,
        vector: "NDArray[np.float32]",
        now_ns: int,
        most: int,
        *,
        waited_s: float = 0.0,
    ) -> Sequence[Neighbour]:
        """As `VectorStore.nearest`; `waited_s`: how long the lookup has waited for the store already."""
        ...
