"""What a question would cost, without asking it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from asahi.cache.v1.cache_pb2 import CacheHit
from asahi.router.v1.router_pb2 import Decision
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.errors import AsahiError, InvalidRequest, NoModelSatisfies
from asahi_core.money import dollars
from asahi_edge.domain.access import may_use_answer
from asahi_edge.domain.inference import STEP_TIER, InferenceRequest, answer_text
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.ports import AnswerCache, ModelRouter
from asahi_edge.domain.step_request import step_request
from asahi_edge.domain.task import task_of
from asahi_edge.domain.workflow import Workflow

_FILLER = "… "
"""About a token to every model, and four bytes, which is what one has in the mean; it says nothing."""
_MOST_BYTES = 4_000_000
"""Of a prompt that reads the longest answers: more fits into no model."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What would happen to a question now."""

    decision: Decision
    """Which model would be called, were the cache to have no answer; of a workflow, for its answering step."""
    hit: CacheHit | None
    """The stored answer that would be given; None: a provider would be called. Of a workflow None."""
    cache_reachable: bool
    """Whether the cache could be asked."""
    tier: int
    """The cache tier that would answer; 0: a provider would."""
    reason: str
    """One sentence with the figures that decided."""
    explanation: str
    """One sentence on what the cache would do."""
    expected_cost_nanos: int
    max_cost_nanos: int | None
    """What it would cost at most, were the cache to have nothing; None: not known."""
    steps: "tuple[StepQuote, ...]" = ()


@dataclass(frozen=True, slots=True)
class StepQuote:
    """What would happen to a step of a workflow."""

    step_id: str
    quote: Quote
    estimated: bool
    """Whether it reads answers that are not there yet, whose lengths are expected ones."""


class Quotes:
    """Quotes questions: looks into the cache and lets the router decide, calls no provider and records nothing."""

    def __init__(self, cache: AnswerCache, near: NearCache, router: ModelRouter) -> None:
        self._cache = cache
        self._near = near
        self._router = router

    async def quote(self, request: InferenceRequest) -> Quote:
        """The quote for `request`.

        Raises:
            AsahiError: what the request itself would be refused with, or the router cannot be reached. Of a workflow,
                `param` and message name the step.
        """
        if request.workflow is not None:
            return await self._workflow(request, request.workflow)
        decision = await self._router.decide(task_of(request))
        if not request.cache.read:
            return _quote(decision, None, "The cache would be left aside.")
        try:
            hit = await self._find(request)
        except AsahiError:
            hit, reachable = None, False
        else:
            reachable = self._cache.attached
        if hit is not None:
            kept = f"An answer by {hit.entry.answer.model} to the same request is kept and would be given again."
            return _quote(decision, hit, kept, tier=request.exact_tier)
        if not reachable:
            aside = "The cache cannot be reached at the moment; a provider would be called."
            return _quote(decision, None, aside, reachable=False)
        return _quote(
            decision, None, "No answer to the same request is kept for this organization; a provider would be called."
        )

    async def _workflow(self, request: InferenceRequest, workflow: Workflow) -> Quote:
        """Each step after those that it reads: kept answers are read as they are, others are as long as is expected."""
        texts, longest, quoted = dict(workflow.given), dict(workflow.given), dict[str, StepQuote]()
        for step in workflow.ordered:
            spent = sum(one.quote.expected_cost_nanos for one in quoted.values())
            estimated = any(
                name in quoted and (quoted[name].estimated or not quoted[name].quote.tier) for name in step.inputs
            )
            asked = step_request(request, workflow, step, texts, spent)
            try:
                quote = await self.quote(asked)
            except AsahiError as error:
                raise workflow.named(step, error) from error
            if estimated:
                quote = await self._estimated(quote, step_request(request, workflow, step, longest, 0))
            quoted[step.id] = StepQuote(step.id, quote, estimated)
            if quote.hit is not None:
                texts[step.id] = longest[step.id] = answer_text(quote.hit.entry.answer.chat)
            else:
                texts[step.id] = _FILLER * quote.decision.expected_output_tokens
                longest[step.id] = _FILLER * quote.decision.max_output_tokens
        return _sum_of([quoted[step.id] for step in workflow.steps], quoted[workflow.answering.id].quote)

    async def _estimated(self, quote: Quote, longest: InferenceRequest) -> Quote:
        """The quote for a step that reads what is not there yet; `longest`: the step that reads the most it may."""
        at_most = Decision()
        if longest.prompt.ByteSize() <= _MOST_BYTES:
            longest.routing.Clear()
            longest.routing.mode, longest.routing.model = RoutingMode.ROUTING_MODE_EXPLICIT, quote.decision.model
            with suppress(NoModelSatisfies, InvalidRequest):  # so much does not fit
                at_most = await self._router.decide(task_of(longest))
        unknown = "It reads answers that are not there yet; a provider would be called."
        return replace(quote, explanation=unknown, max_cost_nanos=_max_cost(at_most))

    async def _find(self, request: InferenceRequest) -> CacheHit | None:
        if not self._cache.attached:
            return None
        organization_id, max_age_s = request.organization_id, request.cache.max_age_s
        hit = self._near.find(organization_id, request.fingerprint, max_age_s)
        if hit is None:
            step = request.step is not None
            found = await self._cache.lookup(organization_id, request.fingerprint, max_age_s, b"", step=step)
            hit = found.hit if found.HasField("hit") else None
        return hit if hit is not None and may_use_answer(request.verdict, hit.entry.answer) else None


def _quote(
    decision: Decision, hit: CacheHit | None, explanation: str, *, tier: int = 0, reachable: bool = True
) -> Quote:
    return Quote(
        decision=decision,
        hit=hit,
        cache_reachable=reachable,
        tier=tier,
        reason=decision.reason,
        explanation=explanation,
        expected_cost_nanos=0 if hit is not None else decision.expected_cost_nanos,
        max_cost_nanos=_max_cost(decision),
    )


def _sum_of(steps: Sequence[StepQuote], answering: Quote) -> Quote:
    """The quote for a workflow of these steps."""
    kept = sum(1 for step in steps if step.quote.tier)
    expected = sum(step.quote.expected_cost_nanos for step in steps)
    most = [step.quote.max_cost_nanos for step in steps]
    return Quote(
        decision=answering.decision,
        hit=None,
        cache_reachable=all(step.quote.cache_reachable for step in steps),
        tier=STEP_TIER if kept == len(steps) else 0,
        reason=(
            f"{len(steps)} steps: {kept} would come from cache tier {STEP_TIER}, {len(steps) - kept} from providers "
            f"for about ${dollars(expected)}. The answering step: {answering.reason}"
        ),
        explanation=f"The results of {kept} of {len(steps)} steps are kept and would be used again.",
        expected_cost_nanos=expected,
        max_cost_nanos=sum(cost for cost in most if cost is not None) if None not in most else None,
        steps=tuple(steps),
    )


def _max_cost(decision: Decision) -> int | None:
    return decision.max_cost_nanos if decision.HasField("max_cost_nanos") else None
