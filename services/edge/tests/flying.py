"""A pipeline in front of scripted services, and builders of what it is asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

import structlog

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import AnswerDelta, Api, ChatRequest, ContentPart, Message, Prompt, Role
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi.type.v1.usage_pb2 import Usage
from asahi_core.clock import ManualClock
from asahi_core.context import CallContext, current_call
from asahi_core.prices import load_price_book
from asahi_edge.domain.budgets import KnownPlans
from asahi_edge.domain.embeddings import Embeddings
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.flights import FlightBoard
from asahi_edge.domain.holds import BudgetedLedger, Holds
from asahi_edge.domain.inference import CacheDirectives, InferenceRequest, InferenceResult
from asahi_edge.domain.leads import Leads
from asahi_edge.domain.near_cache import NearCache
from asahi_edge.domain.pilot import Pilot
from asahi_edge.domain.pipeline import Pipeline
from asahi_edge.domain.prefixes import Prefixes
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.domain.workflows import Workflows
from asahi_edge.stores.spool_memory import MemorySpool
from services.edge.tests.budget_keeper import BudgetKeeper
from services.edge.tests.neighbours import BASELINE, MemoryCache, ScriptedCompletion, ScriptedRouter, answer, reported
from services.edge.tests.usage_records import CountingLedger

GUARD_S = 120.0
"""No test waits longer for what must come."""
PRICES = load_price_book()
ResultT = TypeVar("ResultT")


def verdict(organization_id: str = "org-1", *, models: tuple[str, ...] = (), key: str = "key-1") -> Verdict:
    return Verdict(
        organization_id=organization_id, api_key_id=key, scopes=[Scope.SCOPE_INFER], allowed_models=list(models)
    )


def price(model: str, usage: Usage | None = None) -> int:
    """What a call to `model` costs, of the usual tokens unless others are given."""
    nanos = PRICES.cost_nanos(model, usage or reported(), ManualClock().now())
    assert nanos is not None
    return nanos


def savings_sum(record: UsageRecord) -> bool:
    """Whether the savings of a record are the difference that they explain, to the nano-dollar."""
    return sum(saving.nanos for saving in record.savings) == record.cost_original_nanos - record.cost_nanos


def asked(
    request_id: str,
    prompt: str = "What is 6 × 7?",
    *,
    by: Verdict | None = None,
    cache: CacheDirectives | None = None,
    stream: bool = False,
    explain: bool = False,
) -> InferenceRequest:
    """A question; the same prompt by the same organisation is the same question."""
    routing = Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT)
    asks = by or verdict()
    chat = ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text=prompt)])])
    return InferenceRequest(
        request_id=request_id,
        api=Api.API_INFER,
        verdict=asks,
        prompt=Prompt(chat=chat),
        routing=routing,
        fingerprint=fingerprint(asks.organization_id, Api.API_INFER, routing, {"prompt": prompt}),
        cache=cache or CacheDirectives(),
        stream=stream,
        explain=explain,
        tags={"team": "research"},
    )


class Waiting:
    """A caller who stays until `go` is called."""

    def __init__(self) -> None:
        self._gone = asyncio.Event()

    async def left(self) -> None:
        await self._gone.wait()

    def go(self) -> None:
        self._gone.set()


@dataclass(eq=False)
class Rig:
    """An edge's pipeline with everything around it in the test's hands."""

    cache: MemoryCache
    router: ScriptedRouter
    ledger: CountingLedger
    spool: MemorySpool
    usage: UsageDelivery
    near: NearCache
    board: FlightBoard
    leads: Leads
    pilot: Pilot
    pipeline: Workflows
    embeddings: Embeddings
    clock: ManualClock
    keeper: BudgetKeeper
    holds: Holds
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    def ask(self, request: InferenceRequest, caller: Waiting | None = None) -> "asyncio.Task[InferenceResult]":
        """Asks in a task of its own, as a request over HTTP has."""
        return self.begin(self.pipeline.infer(request, caller or Waiting()))

    def listen(self, request: InferenceRequest) -> "Listener":
        """Asks for a stream in a task of its own; cancelling it is leaving."""
        listener = Listener()
        listener.task = self.begin(listener.listen(self.pipeline, request))
        return listener

    def begin(self, coroutine: Coroutine[Any, Any, ResultT]) -> "asyncio.Task[ResultT]":
        task = asyncio.create_task(coroutine)
        self.tasks.append(task)
        return task

    async def answered(self, request: InferenceRequest, text: str = "42") -> InferenceResult:
        """Asks, and the router answers at once."""
        asking = self.ask(request)
        (await self.call(len(self.router.calls) + 1)).answer(text)
        return await soon(asking)

    async def call(self, number: int = 1) -> ScriptedCompletion:
        """The completion with this number, once it is under way."""
        await until(lambda: len(self.router.calls) >= number)
        return self.router.calls[number - 1]

    async def records(self) -> list[UsageRecord]:
        """What billing knows once all that is settled by now has come."""
        assert await self.usage.flush(GUARD_S)
        return list(self.ledger.records.values())

    async def calls_recorded(self) -> list[UsageRecord]:
        """Records of provider calls alone."""
        return [record for record in await self.records() if record.attempt]

    def entry(self, text: str = "42", *, model: str = "gpt-4o-mini", age_s: float = 0.0) -> CacheEntry:
        """A stored answer of another request."""
        built = CacheEntry(answer=answer(text, model=model), reference_model=BASELINE, request_id="earlier")
        built.created_at.FromNanoseconds(int((self.clock.now().timestamp() - age_s) * 1e9))
        return built


class Listener:
    """What came of a streamed answer."""

    def __init__(self) -> None:
        self.pieces: list[AnswerDelta] = []
        self.result: InferenceResult | None = None
        self.task: "asyncio.Task[None]"  # noqa: UP037 - it is set by who starts it

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    async def listen(self, pipeline: Workflows, request: InferenceRequest) -> None:
        async with aclosing(pipeline.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, InferenceResult):
                    self.result = piece
                else:
                    self.pieces.append(piece)


@asynccontextmanager
async def flying(
    limits: FlightLimits | None = None, *, persistent: bool = True, ledger: CountingLedger | None = None
) -> AsyncIterator[Rig]:
    """A pipeline while the block runs; then no flight and no intent may be left."""
    clock = ManualClock()
    cache, router, spool = MemoryCache(clock), ScriptedRouter(), MemorySpool(clock, persistent=persistent)
    counting = ledger or CountingLedger()
    keeper, plans = BudgetKeeper(counting), KnownPlans()
    holds = Holds(keeper, clock, structlog.get_logger(), renew_s=0.02)
    delivering_to = BudgetedLedger(keeper, plans, holds)
    usage = UsageDelivery(
        delivering_to, spool, prices=PRICES, clock=clock, random=Random(1), log=structlog.get_logger()
    )
    near, board, leads = NearCache(clock, 1024 * 1024), FlightBoard(), Leads(cache)
    pilot = Pilot(
        cache=cache,
        router=router,
        usage=usage,
        holds=holds,
        plans=plans,
        prices=PRICES,
        near=near,
        board=board,
        leads=leads,
        prefixes=Prefixes(clock),
        on_decided=lambda _: None,
        on_answered=lambda *_: None,
        limits=limits or FlightLimits(),
        clock=clock,
        log=structlog.get_logger(),
    )
    flown = Pipeline(cache=cache, near=near, board=board, pilot=pilot, usage=usage, prices=PRICES, clock=clock)
    pipeline = Workflows(flown, usage, clock)
    embeddings = Embeddings(pipeline=flown, cache=cache, near=near, usage=usage, prices=PRICES, clock=clock)
    rig = Rig(
        cache, router, counting, spool, usage, near, board, leads, pilot, pipeline, embeddings, clock, keeper, holds
    )
    delivering, holding = asyncio.create_task(usage.run()), asyncio.create_task(holds.run())
    try:
        yield rig
        for task in rig.tasks:
            task.cancel()
        await asyncio.gather(*rig.tasks, return_exceptions=True)
        await pilot.close(GUARD_S)
        assert len(board) == 0, "a flight that has ended can still be boarded"
        assert not list(spool.intents()), "an announced call has no record"
    finally:
        await holds.close(1.0)
        await usage.close(1.0)
        await delivering
        holding.cancel()


async def soon(awaitable: Awaitable[ResultT]) -> ResultT:
    """What must come; fails rather than wait for ever."""
    async with asyncio.timeout(GUARD_S):
        return await awaitable


async def until(condition: Callable[[], bool]) -> None:
    """Returns when `condition` holds."""
    async with asyncio.timeout(GUARD_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Lets everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


def limit(seconds: float) -> None:
    """What is asked from here on in this task has `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    current_call.set(replace(CallContext(), deadline=deadline))
