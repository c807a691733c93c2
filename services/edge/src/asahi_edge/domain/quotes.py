"""What a question would cost, without asking it."""

from dataclasses import dataclass

from asahi.cache.v1.cache_pb2 import CacheHit
from asahi.router.v1.router_pb2 import Decision
from asahi_core.errors import AsahiError
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.ports import AnswerCache, ModelRouter
from asahi_edge.domain.task import task_of


@dataclass(frozen=True, slots=True)
class Quote:
    """What would happen to a question now."""

    decision: Decision
    """Which model would be called, were the cache to have no answer."""
    hit: CacheHit | None
    """The stored answer that would be given; None: a provider would be called."""
    cache_reachable: bool
    """Whether the cache could be asked."""


class Quotes:
    """Quotes questions: looks into the cache and lets the router decide, calls no provider and records nothing."""

    def __init__(self, cache: AnswerCache, near: NearCache, router: ModelRouter) -> None:
        self._cache = cache
        self._near = near
        self._router = router

    async def quote(self, request: InferenceRequest) -> Quote:
        """The quote for `request`.

        Raises:
            AsahiError: what the request itself would be refused with, or the router cannot be reached.
        """
        decision = await self._router.decide(task_of(request))
        if not request.cache.read:
            return Quote(decision, None, cache_reachable=True)
        try:
            hit = await self._find(request)
        except AsahiError:
            return Quote(decision, None, cache_reachable=False)
        return Quote(decision, hit, cache_reachable=self._cache.attached)

    async def _find(self, request: InferenceRequest) -> CacheHit | None:
        if not self._cache.attached:
            return None
        hit = self._near.find(request.organization_id, request.fingerprint, request.cache.max_age_s)
        if hit is None:
            found = await self._cache.lookup(request.organization_id, request.fingerprint, request.cache.max_age_s, b"")
            hit = found.hit if found.HasField("hit") else None
        return hit if hit is not None and may_use_answer(request.verdict, hit.entry.answer) else None
