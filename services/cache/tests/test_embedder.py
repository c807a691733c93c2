"""The embedding model's queue: everybody gets their own vectors, and nothing piles up."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from asahi.cache.v1.cache_pb2 import EmbedRequest
from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, Embedded, ModelMissing
from asahi_cache.stores.embedder import LocalEmbedder
from asahi_cache.wiring import load_model
from asahi_core.errors import InvalidRequest, Overloaded, ServiceUnavailable
from services.cache.tests.builders import GUARD_S, serving, settings
from services.cache.tests.edges import edges


class Gated:
    """A model that reads a batch when it is let, and remembers what it read: a text's first number is its length."""

    def __init__(self) -> None:
        self.batches: list[Sequence[str]] = []
        self.gate = threading.Semaphore(0)
        self.began = threading.Semaphore(0)

    def read(self, texts: Sequence[str]) -> Embedded:
        self.batches.append(list(texts))
        self.began.release()
        assert self.gate.acquire(timeout=GUARD_S)
        if "broken" in texts:
            raise ValueError("the model broke")
        vectors = np.zeros((len(texts), LOCAL_DIMENSIONS), dtype=np.float32)
        vectors[:, 0] = [len(text) for text in texts]
        return Embedded(vectors, [len(text) for text in texts], [False] * len(texts))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, timeout=GUARD_S)


async def loaded(model: Gated, queue_characters: int = 100_000) -> LocalEmbedder:
    embedder = LocalEmbedder(lambda: model, threads=1, queue_characters=queue_characters)
    await embedder.load()
    return embedder


async def test_a_short_call_waits_for_one_batch_of_a_long_call_and_shares_the_next() -> None:
    model = Gated()
    embedder = await loaded(model)
    long = asyncio.create_task(embedder.embed(["x" * 1000] * 5))
    await model.begun()
    short = asyncio.create_task(embedder.read(["one", "four"]))
    also = asyncio.create_task(embedder.embed(["three"]))
    await asyncio.sleep(0)
    model.gate.release(2)
    assert list((await short).vectors[:, 0]) == [3, 4]
    assert (await short).tokens == [3, 4]
    assert list((await also)[:, 0]) == [5]
    assert not long.done()
    assert model.batches[:2] == [["x" * 1000], ["one", "four", "three"]]
    model.gate.release(4)
    assert list((await long)[:, 0]) == [1000] * 5
    assert (embedder.figures.texts, embedder.figures.batches, embedder.figures.waiting_characters) == (8, 6, 0)
    embedder.close()


async def test_more_than_the_queue_holds_is_refused_at_once_and_room_comes_back() -> None:
    model = Gated()
    embedder = await loaded(model, queue_characters=1000)
    with pytest.raises(InvalidRequest, match="1001 characters are more than the 1000"):
        await embedder.embed(["x" * 1001])
    first = asyncio.create_task(embedder.embed(["x" * 900]))
    await model.begun()
    with pytest.raises(Overloaded):
        await embedder.embed(["x" * 101])
    assert embedder.figures.overloaded == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    model.gate.release(2)
    assert (await embedder.embed(["x" * 1000])).shape == (1, LOCAL_DIMENSIONS)
    embedder.close()


async def test_who_left_is_not_embedded_and_a_broken_batch_breaks_no_other() -> None:
    model = Gated()
    embedder = await loaded(model)
    broken = asyncio.create_task(embedder.embed(["broken"]))
    await model.begun()
    left = asyncio.create_task(embedder.embed(["left"]))
    stays = asyncio.create_task(embedder.embed(["stays"]))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    model.gate.release(2)
    with pytest.raises(ValueError, match="the model broke"):
        await broken
    assert list((await stays)[:, 0]) == [5]
    assert model.batches == [["broken"], ["stays"]]
    embedder.close()


async def test_calls_wait_while_the_model_is_loaded_and_hear_why_there_is_none() -> None:
    let = threading.Event()

    def load() -> Gated:
        assert let.wait(GUARD_S)
        raise ModelMissing("the package is not installed")

    embedder = LocalEmbedder(load, threads=1, queue_characters=1000)
    loading = asyncio.create_task(embedder.load())
    early = asyncio.create_task(embedder.embed(["early"]))
    await asyncio.sleep(0)
    assert not early.done()
    let.set()
    with pytest.raises(ServiceUnavailable, match="no local embedding model: the package is not installed"):
        await early
    with pytest.raises(ModelMissing):
        await loading
    with pytest.raises(ServiceUnavailable, match="not installed"):
        await embedder.embed(["late"])
    assert not embedder.ready
    embedder.close()


async def test_the_service_embeds_as_the_model_does_and_tells_what_it_read() -> None:
    texts = ["enable 2FA", "turn on 2FA", "word " * 1000]
    known = load_model(threads=1).embed(texts[:2])
    async with serving(settings(embedding_threads=1)) as cache, edges(cache.address) as (one, _):
        response = await one.stub.Embed(EmbedRequest(texts=texts), timeout=GUARD_S)
    vectors = np.array([np.frombuffer(one.vector, dtype="<f4") for one in response.embeddings])
    assert vectors.shape == (3, LOCAL_DIMENSIONS)
    assert (vectors[:2] * known).sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert [one.cut for one in response.embeddings] == [False, False, True]
    assert response.embeddings[2].tokens == 256
    assert response.model == "all-MiniLM-L6-v2-int8"


async def test_a_service_without_the_model_says_so() -> None:
    async with serving() as cache, edges(cache.address) as (one, _):
        with pytest.raises(ServiceUnavailable, match="ASAHI_EMBEDDING_THREADS is 0"):
            await one.stub.Embed(EmbedRequest(texts=["a"]), timeout=GUARD_S)
        with pytest.raises(InvalidRequest):
            await one.stub.Embed(EmbedRequest(), timeout=GUARD_S)
