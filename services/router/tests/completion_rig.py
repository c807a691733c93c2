"""Completions over providers that do as they are told, and what comes of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.router.v1.router_pb2 import (
    Attempt,
    AttemptOutcome,
    Cancel,
    Completed,
    CompleteRequest,
    CompleteResponse,
    CompleteStart,
    Decision,
    GoAhead,
    Payer,
    Task,
)
from asahi.type.v1.chat_pb2 import (
    Answer,
    AnswerDelta,
    Api,
    ChatAnswer,
    ChatRequest,
    ContentPart,
    FinishReason,
    Message,
    Prompt,
    Role,
)
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import SystemClock
from asahi_core.errors import AsahiError
from asahi_core.prices import load_price_book
from asahi_router.domain.attempts import TryLimits
from asahi_router.domain.breaker import Breakers
from asahi_router.domain.completion import CompletionLimits, Completions
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.escalation import Checks
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.examples import Chance, Example
from asahi_router.domain.features import Features
from asahi_router.domain.orphans import DrainLimits, Orphanage
from asahi_router.domain.provider import Provider, ProviderCall, ProviderFailure, Received
from asahi_router.domain.retry import RetryRules

MODELS = ("gpt-6.1-sol", "claude-sonnet-5-5", "gpt-6-luna")
PIECES = ("One", " two", " three", " four")
USAGE = Usage(input_tokens=10, output_tokens=4, source=UsageSource.USAGE_SOURCE_PROVIDER)
GUARD_S = 120.0
FEATURES = Features(Api.API_CHAT, 10, "chat", 100)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a scripted provider does with one call: says `pieces`, waits, then fails, or answers with `usage`."""

    pieces: Sequence[str] = PIECES
    failure: ProviderFailure | AsahiError | None = None
    usage: Usage | None = field(default_factory=lambda: USAGE)
    wait_s: float = 0.0
    hold: asyncio.Event | None = None
    sent: bool = True
    """Whether the question ever reaches the provider."""


class ScriptedProvider:
    """Keeps the `Provider` protocol. Each call takes the next turn of its model's script; the last one repeats."""

    def __init__(self, provider_id: str, scripts: Mapping[str, Sequence[Turn]]) -> None:
        self._id = provider_id
        self._scripts = {model: list(turns) for model, turns in scripts.items()}
        self._received: dict[int, Received] = {}
        self.calls: list[str] = []
        self.ended = 0
        self.called = asyncio.Event()
        """A call is made, and all it says at first is said."""
        self.over = asyncio.Event()
        """A call has ended."""

    @property
    def id(self) -> str:
        return self._id

    @property
    def scripted(self) -> Iterable[str]:
        return self._scripts

    async def call(self, call: ProviderCall) -> AsyncGenerator[AnswerDelta | Answer, None]:
        self.calls.append(call.model)
        script = self._scripts[call.model]
        turn = script.pop(0) if len(script) > 1 else script[0]
        self._received[call.attempt] = Received(sent_after_ms=0.0 if turn.sent else None)
        try:
            if call.stream:
                for number, piece in enumerate(turn.pieces, 1):
                    told = "".join(turn.pieces[:number])
                    self._received[call.attempt] = Received(len(told.encode()), number)
                    yield AnswerDelta(text=piece)
            self.called.set()
            await asyncio.sleep(turn.wait_s)
            if turn.hold is not None:
                await turn.hold.wait()
            if turn.failure is not None:
                raise turn.failure
            yield Answer(
                chat=ChatAnswer(parts=[ContentPart(text="".join(turn.pieces))]),
                model=call.model,
                provider=self._id,
                finish_reason=FinishReason.FINISH_REASON_STOP,
                usage=turn.usage,
            )
        finally:
            self.ended += 1
            self.over.set()

    def received(self, call: ProviderCall) -> Received:
        return self._received[call.attempt]

    async def close(self) -> None:
        pass


class NoComparisons:
    """Nobody asks for a second answer."""

    async def run(
        self, start: CompleteStart, inbox: AsyncIterator[CompleteRequest]
    ) -> AsyncGenerator[CompleteResponse, None]:
        raise AssertionError("nothing is compared here")
        yield


@dataclass(frozen=True, slots=True)
class RiggedChoice:
    """A model of the chain."""

    model: str
    provider: str
    max_cost_nanos: int | None = 1_000_000
    max_output_tokens: int | None = None
    added_max_output_tokens: int = 0
    keeps_when_asked: bool = False
    keeps_prompt: bool = False
    total_ms: float = 10.0

    @property
    def provider_model(self) -> str:
        return f"{self.model}-2026"


@dataclass(frozen=True, slots=True)
class RiggedRanking:
    """A chain that was decided."""

    decision: Decision
    chain: Sequence[RiggedChoice]
    features: Features = FEATURES
    chance: Chance | None = None

    def better_than(self, model: str) -> Sequence[RiggedChoice]:
        """Each model is better than those before it."""
        return self.chain[[choice.model for choice in self.chain].index(model) + 1 :]


class Chain:
    """Decides for the same models always."""

    def __init__(
        self,
        models: Sequence[str],
        provider: str,
        max_cost_nanos: int | None = 1_000_000,
        *,
        keeps_when_asked: bool = False,
        features: Features = FEATURES,
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        """`elsewhere`: providers of models that are not at `provider`."""
        self._features = features
        others = elsewhere or {}
        self._chain = [
            RiggedChoice(m, others.get(m, provider), max_cost_nanos, keeps_when_asked=keeps_when_asked) for m in models
        ]

    def decide(self, task: Task, *, explain: bool, streamed: bool = False) -> RiggedRanking:
        first = self._chain[0]
        decision = Decision(model=first.model, provider=first.provider, reason="It was told so.", task_type="chat")
        return RiggedRanking(decision, self._chain, self._features)


class Seen:
    """Keeps what is observed."""

    def __init__(self) -> None:
        self.observations: list[tuple[str, float | None, int]] = []
        self.silences: list[str] = []
        self.examples: list[Example] = []
        self.repetitions: list[tuple[str, str]] = []

    def answered(self, example: Example) -> None:
        self.examples.append(example)

    def repeated(self, organization_id: str, request_id: str) -> None:
        self.repetitions.append((organization_id, request_id))

    def observed(self, model: str, first_token_ms: float | None, shown_tokens: int, duration_ms: float) -> None:
        self.observations.append((model, first_token_ms, shown_tokens))

    def silent(self, model: str, waited_ms: float) -> None:
        self.silences.append(model)


class KeptOrphans:
    """Keeps what is settled."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    def settle(self, record: UsageRecord) -> None:
        self.records.append(record)


class Inbox:
    """What a caller says, when it says it."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[CompleteRequest | None] = asyncio.Queue()

    def cancel(self) -> None:
        self._messages.put_nowait(CompleteRequest(cancel=Cancel()))

    def go_ahead(self, attempt: int) -> None:
        self._messages.put_nowait(CompleteRequest(go_ahead=GoAhead(attempt=attempt)))

    async def __aiter__(self) -> AsyncIterator[CompleteRequest]:
        while (message := await self._messages.get()) is not None:
            yield message


@dataclass(slots=True)
class Told:
    """All that a completion told its caller."""

    events: list[CompleteResponse] = field(default_factory=list)
    error: AsahiError | None = None

    @property
    def kinds(self) -> list[str]:
        return [event.WhichOneof("event") or "" for event in self.events]

    @property
    def attempts(self) -> list[Attempt]:
        return [event.attempt for event in self.events if event.HasField("attempt")]

    @property
    def failed(self) -> list[AttemptOutcome]:
        return [event.attempt_failed for event in self.events if event.HasField("attempt_failed")]

    @property
    def text(self) -> str:
        return "".join(event.delta.text for event in self.events if event.HasField("delta"))

    @property
    def completed(self) -> Completed | None:
        last = self.events[-1] if self.events else CompleteResponse()
        return last.completed if last.HasField("completed") else None


class Rig:
    """Completions whose parts can be looked at. Pauses between retries are as good as none."""

    def __init__(
        self,
        provider: Provider,
        *,
        models: Sequence[str] = MODELS,
        retries: RetryRules | None = None,
        tries: TryLimits | None = None,
        drain: DrainLimits | None = None,
        max_cost_nanos: int | None = 1_000_000,
        estimator: TokenEstimator | None = None,
        keeps_when_asked: bool = False,
        has_schema: bool = False,
        second: ScriptedProvider | None = None,
    ) -> None:
        """`second`: a provider of the models that it has scripts for."""
        clock, prices = SystemClock(), load_price_book()
        self.orphans = KeptOrphans()
        self.seen = Seen()
        self.checks = Checks()
        self.breakers = Breakers(clock)
        self.estimator = estimator or TokenEstimator()
        self.orphanage = Orphanage(self.orphans, prices, self.estimator, clock, drain or DrainLimits())
        self.completions = Completions(
            decider=Chain(
                models,
                provider.id,
                max_cost_nanos,
                keeps_when_asked=keeps_when_asked,
                features=replace(FEATURES, has_schema=has_schema),
                elsewhere=dict.fromkeys(second.scripted, second.id) if second is not None else None,
            ),
            providers={one.id: one for one in (provider, second) if one is not None},
            breakers=self.breakers,
            estimator=self.estimator,
            observations=self.seen,
            examples=self.seen,
            conversations=Conversations(clock),
            comparisons=NoComparisons(),
            checks=self.checks,
            orphanage=self.orphanage,
            prices=prices,
            clock=clock,
            random=lambda: 0.0,
            log=structlog.get_logger(),
            limits=CompletionLimits(tries or TryLimits(), retries or RetryRules()),
        )

    async def run(self, start: CompleteStart, inbox: Inbox | None = None) -> Told:
        """A completion from its start to its end."""
        told = Told()
        async with asyncio.timeout(GUARD_S), aclosing(self.completions.run(start, aiter(inbox or Inbox()))) as events:
            try:
                async for event in events:
                    told.events.append(event)
            except AsahiError as error:
                told.error = error
        return told


def start(
    *,
    stream: bool = False,
    mode: RoutingMode.ValueType = RoutingMode.ROUTING_MODE_AUTOPILOT,
    confirm: bool = False,
    prompt: Prompt | None = None,
    cost_budget_nanos: int | None = None,
    request_id: str = "request-1",
) -> CompleteStart:
    """The start of a completion."""
    chat = ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text="Count to four.")])])
    task = Task(
        organization_id="org-1",
        request_id=request_id,
        prompt=prompt or Prompt(chat=chat),
        routing=Routing(mode=mode, cost_budget_nanos=cost_budget_nanos),
        payer=Payer(api_key_id="key-1", user_id="user-1", task_id="task-1", tags={"team": "a"}, api=Api.API_INFER),
    )
    return CompleteStart(task=task, stream=stream, confirm_attempts=confirm)
