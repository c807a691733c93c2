"""The path of a question of `/v1/embeddings`: each input is looked up by itself, and a provider asked for the rest.

What is asked of the provider is one call for all inputs that no tier has, in a flight like any other
(`Pipeline.land`), with its intent, hold and record. An input that is there several times is asked for once.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from asahi.cache.v1.cache_pb2 import CacheHit
from asahi.type.v1.chat_pb2 import NativeBody, Prompt
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError
from asahi_core.prices import Books
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.embedding_bodies import Input, batches, inputs_of, question_of
from asahi_edge.domain.embedding_results import EmbeddedInputs, Flown
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.pipeline import Pipeline
from asahi_edge.domain.ports import AnswerCache, Caller
from asahi_edge.domain.records import reuse_record
from asahi_edge.domain.usage import UsageDelivery


class Embeddings:
    """Answers questions of `/v1/embeddings`."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        cache: AnswerCache,
        near: NearCache,
        usage: UsageDelivery,
        prices: Books,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._near = near
        self._usage = usage
        self._prices = prices
        self._clock = clock

    async def infer(self, request: InferenceRequest, caller: Caller) -> InferenceResult:
        """The vectors of all inputs, as an answer in OpenAI's form with base64.

        Raises:
            AsahiError: as `Pipeline.infer` does.
        """
        self._usage.admit()
        started = self._clock.monotonic()
        inputs = inputs_of(request)
        distinct = list({one.fingerprint: one for one in inputs}.values())
        hits, degraded = await self._look_up(request, distinct)
        missing = [one for one in distinct if one.fingerprint not in hits]
        flown = await self._fly(request, missing, caller) if missing else None
        now = self._clock.now()
        embedded = EmbeddedInputs(inputs, hits, degraded, flown, self._prices.of(request.organization_id), now)
        latency_ms = (self._clock.monotonic() - started) * 1000
        result = embedded.result(latency_ms, bypassed_cache=not request.cache.read)
        if result.reused:
            self._usage.deliver_later(reuse_record(request, result, now))
        elif embedded.kept_tokens:
            record = reuse_record(request, embedded.beside(result), now)
            record.answered = False  # the provider's call says that the request was
            self._usage.deliver_later(record)
        return result

    async def _look_up(
        self, request: InferenceRequest, inputs: Sequence[Input]
    ) -> tuple[dict[bytes, CacheHit], tuple[str, ...]]:
        """What tier 1 has for this key, by fingerprint, and what was left aside since it did not answer."""
        hits: dict[bytes, CacheHit] = {}
        degraded: tuple[str, ...] = ()
        if not request.cache.read or not self._cache.attached:
            return hits, degraded
        for one in inputs:
            near = self._near.find(request.organization_id, one.fingerprint, request.cache.max_age_s)
            if near is not None:
                hits[one.fingerprint] = near
        if len(inputs) > 1:  # a single one is looked up by its flight
            away = [one.fingerprint for one in inputs if one.fingerprint not in hits]
            try:
                for some in batches(away):
                    found = await asyncio.gather(*(self._fetch(request, fingerprint) for fingerprint in some))
                    hits |= {fp: hit for fp, hit in zip(some, found, strict=True) if hit is not None}
            except AsahiError:
                degraded = ("cache",)
        return {fp: hit for fp, hit in hits.items() if may_use_answer(request.verdict, hit.entry.answer)}, degraded

    async def _fetch(self, request: InferenceRequest, fingerprint: bytes) -> CacheHit | None:
        epoch = self._near.epoch
        found = await self._cache.lookup(request.organization_id, fingerprint, request.cache.max_age_s, b"")
        if not found.HasField("hit"):
            return None
        ttl_s = found.hit.ttl.ToNanoseconds() / 1e9
        self._near.keep(request.organization_id, fingerprint, found.hit.entry, ttl_s, epoch)
        return found.hit

    async def _fly(self, request: InferenceRequest, missing: Sequence[Input], caller: Caller) -> Flown:
        """Has the missing inputs embedded, all of them by one call."""
        fingerprints = tuple(one.fingerprint for one in missing)
        single = len(fingerprints) == 1
        asked = replace(
            request,
            prompt=Prompt(native=NativeBody(api=request.api, body=question_of(request, missing))),
            fingerprint=fingerprints[0] if single else hashlib.sha256(b"".join(fingerprints)).digest(),
            parts=() if single else fingerprints,
        )
        landing, own = await self._pipeline.land(asked, caller)
        return Flown(missing, landing, own=own)
