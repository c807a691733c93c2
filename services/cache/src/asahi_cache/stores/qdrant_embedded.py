"""Stored questions in Qdrant's own engine inside this process: a laptop's, and a single replica's.

Its calls hold the GIL, so a thread would free nobody: they are made on the loop, a search takes about 0.1 ms. It is
never optimised while it serves, for that holds the GIL for seconds; what was deleted is swept out when it is opened.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import numpy as np
import qdrant_edge as q

from asahi_cache.domain.semantic.neighbours import Neighbour, StoredQuestion, StoreUnavailable
from asahi_cache.domain.tiers import Selection
from asahi_cache.stores.question_payload import (
    COLLECTION,
    KEYWORDS,
    TENANT,
    TIMES,
    microseconds,
    payload_of,
    point_id,
    question_in,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")
_NEVER_INDEXED_KB = 100_000_000
"""Vectors are compared one by one within a scope; a graph over all tenants would cost minutes to build."""


class EmbeddedQuestions:
    """A `VectorStore` in a folder that this process has to itself."""

    def __init__(self, folder: Path, model: str, dimensions: int) -> None:
        """Opens the folder, or makes it.

        Raises:
            StoreUnavailable: another process has it, or it cannot be read; the text says which.
        """
        path = folder / COLLECTION.format(model=model)
        config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(size=dimensions, distance=q.Distance.Cosine),
            optimizers=q.EdgeOptimizersConfig(indexing_threshold=_NEVER_INDEXED_KB),
        )
        self._closed = False
        try:
            if path.is_dir():
                self._shard = q.EdgeShard.load(str(path), config)
                self._shard.optimize()
            else:
                path.mkdir(parents=True, mode=0o700)
                self._shard = q.EdgeShard.create(str(path), config)
            self._make_indexes()
        except Exception as error:  # the engine raises nothing finer
            raise StoreUnavailable(f"the folder {path.name} of questions cannot be opened: {_line(error)}") from error

    async def holds(self, organization_id: str, scope: bytes, now_ns: int) -> bool:
        """Whether anything in the scope has not expired."""
        request = q.ScrollRequest(limit=1, filter=_within(organization_id, scope, now_ns))
        found, _ = self._call(lambda: self._shard.scroll(request))
        return bool(found)

    async def nearest(
        self, organization_id: str, scope: bytes, vector: "NDArray[np.float32]", now_ns: int, most: int
    ) -> Sequence[Neighbour]:
        """What in the scope has not expired, nearest first, at most `most`."""
        request = q.QueryRequest(
            limit=most,
            query=q.Query.Nearest(vector.tolist()),
            filter=_within(organization_id, scope, now_ns),
            with_payload=True,
        )

        def search() -> Sequence[Neighbour]:
            found = self._shard.query(request)
            return [Neighbour(question_in(point.payload or {}), point.score) for point in found]

        return self._call(search)

    async def keep(self, question: StoredQuestion, vector: "NDArray[np.float32]") -> None:
        """Keeps the question, in place of one with the same fingerprint."""
        at = point_id(question.organization_id, question.fingerprint)
        point = q.Point(id=at, vector=vector.tolist(), payload=payload_of(question))
        self._update(q.UpdateOperation.upsert_points([point]))

    async def forget(self, organization_id: str, fingerprint: bytes) -> None:
        """Drops one question."""
        self._update(q.UpdateOperation.delete_points([point_id(organization_id, fingerprint)]))

    async def drop(self, selection: Selection) -> None:
        """Drops what is selected."""
        must: list[Any] = [_is(TENANT, selection.organization_id)]
        must += [_is("labels", label.hex()) for label in sorted(selection.labels)]
        if selection.given_before_nanos is not None:
            must.append(
                q.FieldCondition(key="created_at", range=q.RangeFloat(lt=microseconds(selection.given_before_nanos)))
            )
        self._update(q.UpdateOperation.delete_points_by_filter(q.Filter(must=must)))

    async def expire(self, now_ns: int) -> None:
        """Drops what has expired."""
        gone = q.FieldCondition(key="expires_at", range=q.RangeFloat(lte=microseconds(now_ns)))
        self._update(q.UpdateOperation.delete_points_by_filter(q.Filter(must=[gone])))

    async def scroll(self, after: str, most: int) -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
        """Questions of all organisations with their vectors, and what to pass as `after` next; empty: that was all."""
        request = q.ScrollRequest(
            offset=UUID(after) if after else None, limit=most, with_payload=True, with_vector=True
        )

        def scroll() -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
            found, following = self._shard.scroll(request)
            kept = [(question_in(one.payload or {}), np.array(one.vector, dtype=np.float32)) for one in found]
            return kept, str(following) if following is not None else ""

        return self._call(scroll)

    async def close(self) -> None:
        """Writes what is not written yet, and lets go of the folder."""
        if not self._closed:
            self._closed = True
            self._call(self._shard.flush)
            self._call(self._shard.close)

    def _make_indexes(self) -> None:
        known = self._shard.info().payload_schema
        wanted: dict[str, Any] = {
            TENANT: q.KeywordIndexParams(is_tenant=True),
            **{name: q.KeywordIndexParams() for name in KEYWORDS},
            **{name: q.IntegerIndexParams(lookup=False, range=True) for name in TIMES},
        }
        for name, params in wanted.items():
            if name not in known:
                self._shard.update(q.UpdateOperation.create_field_index(name, params))

    def _update(self, operation: Any) -> None:
        self._call(lambda: self._shard.update(operation))

    def _call(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:  # the engine raises nothing finer
            raise StoreUnavailable(f"the embedded store of questions failed: {_line(error)}") from error


def _within(organization_id: str, scope: bytes, now_ns: int) -> Any:
    """A filter: of the organisation, in the scope, not expired."""
    fresh = q.FieldCondition(key="expires_at", range=q.RangeFloat(gt=microseconds(now_ns)))
    return q.Filter(must=[_is(TENANT, organization_id), _is("scope", scope.hex()), fresh])


def _is(key: str, value: str) -> Any:
    return q.FieldCondition(key=key, match=q.MatchValue(value))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
