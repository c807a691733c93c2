"""What a question of `/v1/embeddings` is answered, at what cost: from tier 1 and by a flight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit
from asahi.type.v1.chat_pb2 import Answer, FinishReason
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.prices import PriceBook
from asahi_edge.domain.charge import Charge, charge_reused
from asahi_edge.domain.embedding_bodies import Input, tokens_of_inputs, vectors_of, written_answer
from asahi_edge.domain.flights import Landing
from asahi_edge.domain.inference import InferenceResult

_FROM_CACHE = "cache_tier_1"
Vector = tuple[bytes, int]
"""As a JSON text of base64, and the tokens of its input."""


@dataclass(frozen=True, slots=True)
class Flown:
    """What a flight brought for the inputs that no tier had."""

    inputs: Sequence[Input]
    landing: Landing
    own: bool
    """Whether this request pays for it."""

    @property
    def tier(self) -> int:
        """The tier that answered after all; 0: a provider did."""
        return self.landing.hit.tier if self.landing.hit is not None else 0

    @property
    def tokens(self) -> int:
        """Of all its inputs."""
        return int(self.landing.entry.answer.usage.input_tokens)

    def vectors(self) -> dict[bytes, Vector]:
        """By the fingerprint of the input."""
        shares = tokens_of_inputs(self.inputs, self.tokens)
        vectors = zip(vectors_of(self.landing.entry.answer), shares, strict=True)
        return {one.fingerprint: vector for one, vector in zip(self.inputs, vectors, strict=True)}


@dataclass(frozen=True, slots=True)
class EmbeddedInputs:
    """All inputs of a question, embedded."""

    inputs: Sequence[Input]
    hits: Mapping[bytes, CacheHit]
    """What tier 1 had, by fingerprint."""
    degraded: tuple[str, ...]
    flown: Flown | None
    """None: tier 1 had everything."""
    prices: PriceBook
    at: datetime

    def result(self, latency_ms: float, *, bypassed_cache: bool) -> InferenceResult:
        """The answer to the caller."""
        flown = self.flown
        own = flown.landing if flown is not None and flown.own else None
        tier = flown.tier if flown is not None else 1
        told = self._told()
        landed = flown.landing.degraded if flown is not None else ()
        return InferenceResult(
            answer=_answer(self._entry, [written for written, _ in told], sum(tokens for _, tokens in told)),
            charge=self._charge(),
            reason=self._reason(),
            cache_tier=tier,
            coalesced=own is None and not tier,
            age_s=self._age_s() if tier else 0.0,
            bypassed_cache=bypassed_cache,
            latency_ms=latency_ms,
            overhead_ms=max(0.0, latency_ms - sum(one.duration_ms for one in own.attempts)) if own else latency_ms,
            attempts=own.attempts if own is not None else (),
            degraded=tuple(dict.fromkeys((*self.degraded, *landed))),
        )

    def beside(self, result: InferenceResult) -> InferenceResult:
        """The part of `result` that tier 1 gave, where a provider gave the other."""
        answer = _answer(self._entry, [], self.kept_tokens)
        return replace(result, answer=answer, charge=self._reused(self.kept_tokens, _FROM_CACHE), cache_tier=1)

    @property
    def kept_tokens(self) -> int:
        """Tokens of inputs that were not asked for: tier 1 had them, or they are there several times."""
        return sum(tokens for _, tokens in self._told()) - (self.flown.tokens if self.flown is not None else 0)

    @property
    def _entry(self) -> CacheEntry:
        """One that names the model."""
        return self.flown.landing.entry if self.flown is not None else next(iter(self.hits.values())).entry

    def _told(self) -> list[Vector]:
        """A vector for each input, in their order."""
        vectors = {fingerprint: _kept(hit.entry) for fingerprint, hit in self.hits.items()}
        if self.flown is not None:
            vectors |= self.flown.vectors()
        return [vectors[one.fingerprint] for one in self.inputs]

    def _charge(self) -> Charge:
        """What the call cost, if it is this request's, and what the other inputs would have cost."""
        flown, kept = self.flown, self.kept_tokens
        charges = [self._reused(kept, _FROM_CACHE)] if kept or flown is None else []
        if flown is not None and flown.own and flown.landing.charge is not None:
            charges.insert(0, flown.landing.charge)
        elif flown is not None:
            charges.append(self._reused(flown.tokens, f"cache_tier_{flown.tier}" if flown.tier else "coalesced"))
        return _sum(charges)

    def _reused(self, tokens: int, technique: str) -> Charge:
        """The charge of so many tokens that no provider was asked for."""
        entry = self._entry
        answer = Answer(model=entry.answer.model, usage=_usage(tokens))
        return charge_reused(self.prices, answer, entry.reference_model, technique, self.at)

    def _age_s(self) -> float:
        """Of the oldest vector."""
        entries = [hit.entry for hit in self.hits.values()] + ([self.flown.landing.entry] if self.flown else [])
        return max(0.0, *(self.at.timestamp() - entry.created_at.ToNanoseconds() / 1e9 for entry in entries))

    def _reason(self) -> str:
        flown, model = self.flown, self._entry.answer.model
        if flown is None or flown.tier:
            return f"{model} embedded the same inputs before; from cache tier 1."
        kept = sum(one.fingerprint in self.hits for one in self.inputs)
        before = f" {kept} of {len(self.inputs)} inputs were embedded before; from cache tier 1." if kept else ""
        if not flown.own:
            return f"{model} was embedding the same inputs already; one call served both.{before}"
        return f"{flown.landing.reason}{before}"


def _kept(entry: CacheEntry) -> Vector:
    (written,) = vectors_of(entry.answer)
    return written, entry.answer.usage.input_tokens


def _usage(tokens: int) -> Usage:
    return Usage(input_tokens=tokens, source=UsageSource.USAGE_SOURCE_PROVIDER)


def _answer(entry: CacheEntry, vectors: Sequence[bytes], tokens: int) -> Answer:
    """The answer to all inputs, by the model of `entry`."""
    model = entry.answer.model
    answer = Answer(
        model=model,
        provider=entry.answer.provider,
        finish_reason=FinishReason.FINISH_REASON_STOP,
        usage=_usage(tokens),
    )
    answer.native.CopyFrom(written_answer(model, vectors, tokens))
    return answer


def _sum(charges: Sequence[Charge]) -> Charge:
    """All of them together; the original is known if each one's is."""
    if len(charges) == 1:
        return charges[0]
    known = [charge.original_nanos for charge in charges if charge.original_nanos is not None]
    savings: dict[str, int] = {}
    for technique, nanos in (saving for charge in charges for saving in charge.savings):
        savings[technique] = savings.get(technique, 0) + nanos
    whole = len(known) == len(charges)
    return Charge(
        cost_nanos=sum(charge.cost_nanos for charge in charges),
        original_nanos=sum(known) if whole else None,
        savings=tuple(savings.items()) if whole else (),
        price_version=charges[0].price_version,
        price_unknown=any(charge.price_unknown for charge in charges),
        overhead_nanos=sum(charge.overhead_nanos for charge in charges),
    )
