"""Stored questions in a Qdrant server or cluster, which all replicas share; over REST, kept alive."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException

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
_ASK_S = 2.0
"""Longest time of a call that nobody's answer waits for."""
_EXISTS, _MISSING = 409, 404


class ServerQuestions:
    """A `VectorStore` in a collection of its own. It is made when first needed, and anew if the server lost it."""

    def __init__(self, url: str, api_key: str, model: str, dimensions: int) -> None:
        self._client = AsyncQdrantClient(
            url=url, api_key=api_key or None, timeout=int(_ASK_S), check_compatibility=False
        )
        self._collection = COLLECTION.format(model=model)
        self._dimensions = dimensions
        self._made: asyncio.Task[None] | None = None
        """Makes the collection; whoever leaves before it is made has not made it in vain."""

    async def holds(self, organization_id: str, scope: bytes, now_ns: int) -> bool:
        """Whether anything in the scope has not expired."""
        found, _ = await self._ask(
            lambda: self._client.scroll(
                self._collection,
                scroll_filter=_within(organization_id, scope, now_ns),
                limit=1,
                with_payload=False,
            )
        )
        return bool(found)

    async def nearest(
        self, organization_id: str, scope: bytes, vector: "NDArray[np.float32]", now_ns: int, most: int
    ) -> Sequence[Neighbour]:
        """What in the scope has not expired, nearest first, at most `most`."""

        async def search() -> Sequence[Neighbour]:
            found = await self._client.query_points(
                self._collection,
                query=vector.tolist(),
                query_filter=_within(organization_id, scope, now_ns),
                limit=most,
                with_payload=True,
            )
            return [Neighbour(question_in(point.payload or {}), point.score) for point in found.points]

        return await self._ask(search)

    async def keep(self, question: StoredQuestion, vector: "NDArray[np.float32]") -> None:
        """Keeps the question, in place of one with the same fingerprint."""
        at = str(point_id(question.organization_id, question.fingerprint))
        point = models.PointStruct(id=at, vector=vector.tolist(), payload=payload_of(question))
        await self._ask(lambda: self._client.upsert(self._collection, points=[point], wait=True))

    async def forget(self, organization_id: str, fingerprint: bytes) -> None:
        """Drops one question."""
        chosen = models.PointIdsList(points=[str(point_id(organization_id, fingerprint))])
        await self._ask(lambda: self._client.delete(self._collection, points_selector=chosen, wait=True))

    async def drop(self, selection: Selection) -> None:
        """Drops what is selected."""
        must: list[Any] = [_is(TENANT, selection.organization_id)]
        must += [_is("labels", label.hex()) for label in sorted(selection.labels)]
        if selection.given_before_nanos is not None:
            must.append(
                models.FieldCondition(
                    key="created_at", range=models.Range(lt=microseconds(selection.given_before_nanos))
                )
            )
        await self._delete(models.Filter(must=must))

    async def expire(self, now_ns: int) -> None:
        """Drops what has expired."""
        gone = models.FieldCondition(key="expires_at", range=models.Range(lte=microseconds(now_ns)))
        await self._delete(models.Filter(must=[gone]))

    async def scroll(self, after: str, most: int) -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
        """Questions of all organisations with their vectors, and what to pass as `after` next; empty: that was all."""

        async def scroll() -> "tuple[Sequence[tuple[StoredQuestion, NDArray[np.float32]]], str]":
            found, following = await self._client.scroll(
                self._collection, limit=most, offset=after or None, with_payload=True, with_vectors=True
            )
            kept = [(question_in(one.payload or {}), np.array(one.vector, dtype=np.float32)) for one in found]
            return kept, str(following) if following is not None else ""

        return await self._ask(scroll)

    async def close(self) -> None:
        """Lets go of the connections."""
        if self._made is not None:
            self._made.cancel()
            await asyncio.gather(self._made, return_exceptions=True)
        await self._client.close()

    async def _delete(self, chosen: models.Filter) -> None:
        selector = models.FilterSelector(filter=chosen)
        await self._ask(lambda: self._client.delete(self._collection, points_selector=selector, wait=True))

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            if self._made is None or (self._made.done() and self._made.exception() is not None):
                self._made = asyncio.create_task(self._make())
            await asyncio.shield(self._made)
            return await call()
        except (ApiException, OSError, KeyError, TypeError, ValueError) as error:
            if getattr(error, "status_code", None) == _MISSING:
                self._made = None
            raise StoreUnavailable(f"Qdrant does not do what it was asked: {_line(error)}") from error

    async def _make(self) -> None:
        if not await self._client.collection_exists(self._collection):
            try:
                await self._client.create_collection(
                    self._collection,
                    vectors_config=models.VectorParams(size=self._dimensions, distance=models.Distance.COSINE),
                    hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),  # a graph for each tenant, none over all
                )
            except ApiException as error:
                if getattr(error, "status_code", None) != _EXISTS:  # another replica has made it meanwhile
                    raise
        schemas: dict[str, Any] = {
            TENANT: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
            **dict.fromkeys(KEYWORDS, models.PayloadSchemaType.KEYWORD),
            **dict.fromkeys(TIMES, models.PayloadSchemaType.INTEGER),
        }
        for name, schema in schemas.items():
            await self._client.create_payload_index(self._collection, name, schema, wait=True)


def _within(organization_id: str, scope: bytes, now_ns: int) -> models.Filter:
    """Of the organisation, in the scope, not expired."""
    fresh = models.FieldCondition(key="expires_at", range=models.Range(gt=microseconds(now_ns)))
    return models.Filter(must=[_is(TENANT, organization_id), _is("scope", scope.hex()), fresh])


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
