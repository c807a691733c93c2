"""Stored questions in Qdrant's own engine inside this process: a laptop's, and a single replica's.

Its calls hold the GIL, so a thread would free nobody: they are made on the loop, a search takes about 0.1 ms. Its own
optimisation would hold it for seconds and is never run: where most of what was written is gone, the rest is copied to a
new shard, a few questions at a time, and the old one is deleted.
"""

import asyncio
import shutil
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
_WHOLE = "whole"
"""A file in a shard's folder: everything was copied to it."""
_SLICE = 50
_LEAST_WRITTEN = 5000
_NEVER_INDEXED_KB = 100_000_000
"""Vectors are compared one by one within a scope; a graph over all tenants would cost minutes to build."""


class EmbeddedQuestions:
    """A `VectorStore` in a folder that this process has to itself, of at most so many questions."""

    def __init__(self, folder: Path, model: str, dimensions: int, most: int) -> None:
        """Opens the folder, or makes it. Over `most`, the oldest of the organisation that has most leave.

        Raises:
            StoreUnavailable: another process has it, or it cannot be read; the text says which.
        """
        self._path = folder / COLLECTION.format(model=model)
        self._dimensions = dimensions
        self._most = most
        self._closed = False
        self._next: q.EdgeShard | None = None
        """The shard that questions are being copied to."""
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._number = max((int(one.parent.name) for one in self._path.glob(f"*/{_WHOLE}")), default=0)
            if self._number:
                self._shard = q.EdgeShard.load(str(self._path / str(self._number)))
                self._make_indexes(self._shard)
            else:
                self._number = 1
                self._shard = self._new_shard()
                self._mark_whole()
            self._written = self._count()
        except Exception as error:  # the engine raises nothing finer
            raise StoreUnavailable(f"the folder {folder.name} of questions cannot be opened: {_line(error)}") from error
        self._delete_others()

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
        self._written += 1

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
        """Drops what has expired and what is too much; gives the room of what is gone back, lookups going on."""
        gone = q.FieldCondition(key="expires_at", range=q.RangeFloat(lte=microseconds(now_ns)))
        self._update(q.UpdateOperation.delete_points_by_filter(q.Filter(must=[gone])))
        while (excess := self._call(self._count) - self._most) > 0:
            self._evict(excess)
            await asyncio.sleep(0)
        if self._written > 2 * self._call(self._count) + _LEAST_WRITTEN:
            await self._renew()

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

    def _new_shard(self) -> q.EdgeShard:
        folder = self._path / str(self._number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        optimizers = q.EdgeOptimizersConfig(indexing_threshold=_NEVER_INDEXED_KB)
        vectors = q.EdgeVectorParams(size=self._dimensions, distance=q.Distance.Cosine)
        shard = q.EdgeShard.create(str(folder), q.EdgeConfig(vectors=vectors, optimizers=optimizers))
        self._make_indexes(shard)
        return shard

    def _make_indexes(self, shard: q.EdgeShard) -> None:
        known = shard.info().payload_schema
        wanted: dict[str, Any] = {
            TENANT: q.KeywordIndexParams(is_tenant=True),
            **{name: q.KeywordIndexParams() for name in KEYWORDS},
            **{name: q.IntegerIndexParams(lookup=False, range=True) for name in TIMES},
        }
        for name, params in wanted.items():
            if name not in known:
                shard.update(q.UpdateOperation.create_field_index(name, params))

    def _count(self) -> int:
        return self._shard.count(q.CountRequest(exact=True))

    def _evict(self, excess: int) -> None:
        """Drops the oldest questions of the organisation that has most, down to the one that has next most."""
        request = q.FacetRequest(key=TENANT, limit=2, exact=True)
        most, *others = self._call(lambda: self._shard.facet(request).hits)
        count = min(excess, _SLICE, max(1, most.count - (others[0].count if others else 0)))
        oldest = q.ScrollRequest(
            limit=count, filter=q.Filter(must=[_is(TENANT, str(most.value))]), order_by=q.OrderBy(key="created_at")
        )
        found, _ = self._call(lambda: self._shard.scroll(oldest))
        self._update(q.UpdateOperation.delete_points([point.id for point in found]))

    async def _renew(self) -> None:
        """Copies all questions to a new shard; what is kept or dropped meanwhile is so in both."""
        self._number += 1
        self._next = self._call(self._new_shard)
        try:
            after: UUID | None = None
            while True:
                after = self._copy(self._next, after)
                if after is None:
                    break
                await asyncio.sleep(0)
            old, self._shard = self._shard, self._next
        finally:
            self._next = None
        self._call(self._shard.flush)
        self._mark_whole()
        self._call(old.close)
        self._written = self._call(self._count)
        await asyncio.to_thread(self._delete_others)

    def _copy(self, target: q.EdgeShard, after: "UUID | None") -> "UUID | None":
        page = q.ScrollRequest(offset=after, limit=_SLICE, with_payload=True, with_vector=True)

        def copy() -> "UUID | None":
            found, following = self._shard.scroll(page)
            points = [q.Point(id=one.id, vector=one.vector or [], payload=one.payload) for one in found]
            if points:  # what was written to both meanwhile is newer
                target.update(q.UpdateOperation.upsert_points(points, update_mode=q.UpdateMode.InsertOnly))
            return following if isinstance(following, UUID) else None

        return self._call(copy)

    def _mark_whole(self) -> None:
        (self._path / str(self._number) / _WHOLE).touch()

    def _delete_others(self) -> None:
        """Deletes shards that were given up, or never became whole."""
        for folder in self._path.iterdir():
            if folder.name != str(self._number):
                shutil.rmtree(folder, ignore_errors=True)

    def _update(self, operation: Any) -> None:
        self._call(lambda: self._shard.update(operation))
        if self._next is not None:
            following = self._next
            self._call(lambda: following.update(operation))

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
