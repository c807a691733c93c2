"""The pipeline behind its limits: admit, answer, settle. Hits and followers of flights use requests, no tokens."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from prometheus_client import Histogram

from asahi.router.v1.router_pb2 import CountTokensResponse
from asahi.type.v1.chat_pb2 import AnswerDelta, Api
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded, UpstreamInterrupted
from asahi_core.prices.book import prompt_tokens
from asahi_edge.domain.admission import Admission
from asahi_edge.domain.embeddings import Embeddings
from asahi_edge.domain.inference import InferenceRequest, InferenceResult
from asahi_edge.domain.limits import Decision, Demand, Limiter, estimated_tokens, limits_of, refusal, settles_nothing
from asahi_edge.domain.ports import Caller, TokenCounter
from asahi_edge.domain.task import task_of
from asahi_edge.domain.workflows import Workflows

_OVERHEAD = Histogram(
    "asahi_overhead_seconds",
    "Time of an answer that no provider took, by who answered.",
    ["answered_by"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_BY_CACHE, _BY_PROVIDER = _OVERHEAD.labels("cache"), _OVERHEAD.labels("provider")
_MAY_HAVE_USED = (Cancelled, DeadlineExceeded, UpstreamInterrupted)
"""Ends after which a provider may have counted tokens that nobody told: the estimate stays."""


def _tell_nobody(_decision: Decision) -> None:
    return


class LimitedPipeline:
    """Answers what the organisation's, the key's and the end user's limits admit."""

    def __init__(self, pipeline: Workflows, embeddings: Embeddings, limiter: Limiter, admission: Admission) -> None:
        self._pipeline = pipeline
        self._embeddings = embeddings
        self._limiter = limiter
        self._admission = admission

    async def infer(
        self, request: InferenceRequest, caller: Caller, on_decided: Callable[[Decision], None] = _tell_nobody
    ) -> InferenceResult:
        """As `Pipeline.infer`; `on_decided` is told before anything else happens, if any limit applies.

        Raises:
            RateLimitExceeded: a limit is reached; nothing was used of any.
            Overloaded: too many requests are under way.
        """
        with self._admission.slot(request.organization_id):
            settle = await self._admit(request, on_decided)
            try:
                asked = self._embeddings if request.api == Api.API_OPENAI_EMBEDDINGS else self._pipeline
                result = await asked.infer(request, caller)
            except AsahiError as error:
                _settle_failure(settle, error)
                raise
            settle(_tokens_of(result))
            _observe(result)
            return result

    async def stream(
        self, request: InferenceRequest, on_decided: Callable[[Decision], None] = _tell_nobody
    ) -> AsyncGenerator[AnswerDelta | InferenceResult, None]:
        """As `Pipeline.stream`; raises what `infer` raises, before the first piece."""
        with self._admission.slot(request.organization_id):
            settle = await self._admit(request, on_decided)
            try:
                async with aclosing(self._pipeline.stream(request)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, InferenceResult):
                            settle(_tokens_of(piece))
                            _observe(piece)
                        yield piece
            except AsahiError as error:
                _settle_failure(settle, error)
                raise

    async def count_tokens(
        self,
        request: InferenceRequest,
        counter: TokenCounter,
        on_decided: Callable[[Decision], None] = _tell_nobody,
    ) -> CountTokensResponse:
        """The tokens of the request, which it uses none of; it is one to the limits of requests.

        Raises:
            RateLimitExceeded, Overloaded: as `infer` does.
        """
        with self._admission.slot(request.organization_id):
            limits = tuple(limit for limit in limits_of(request.verdict, request.user_id) if limit.unit == "requests")
            await self._ask(Demand(request.organization_id, limits, 0), on_decided)
            return await counter.count_tokens(task_of(request))

    async def _admit(self, request: InferenceRequest, on_decided: Callable[[Decision], None]) -> Callable[[int], None]:
        """Asks the limiter where a limit applies; returns what settles the tokens."""
        limits = limits_of(request.verdict, request.user_id)
        counted = any(limit.unit == "tokens" for limit in limits)
        return await self._ask(
            Demand(request.organization_id, limits, estimated_tokens(request) if counted else 0), on_decided
        )

    async def _ask(self, demand: Demand, on_decided: Callable[[Decision], None]) -> Callable[[int], None]:
        if not demand.limits:
            return settles_nothing
        decision = await self._limiter.admit(demand)
        on_decided(decision)
        if decision.refused_by is not None:
            raise refusal(decision.refused_by, decision.retry_after_s)
        return decision.settle


def _tokens_of(result: InferenceResult) -> int:
    if result.reused:
        return 0
    return prompt_tokens(result.answer.usage) + result.answer.usage.output_tokens


def _observe(result: InferenceResult) -> None:
    """Of who rides along in another request's flight nothing is known that no provider took."""
    if not result.coalesced:
        (_BY_CACHE if result.cache_tier else _BY_PROVIDER).observe(result.overhead_ms / 1000)


def _settle_failure(settle: Callable[[int], None], error: AsahiError) -> None:
    if not isinstance(error, _MAY_HAVE_USED):
        settle(0)
