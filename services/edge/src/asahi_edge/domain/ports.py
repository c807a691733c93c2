"""What requests need of the other services. Every method raises `AsahiError`s only.

What governance and analytics need is in `governance_ports`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.cache.v1.cache_pb2 import (
    CacheEntry,
    FollowFlightResponse,
    GetConditionResponse,
    GetSemanticReportResponse,
    GetStatsResponse,
    LookupResponse,
    SemanticQuestion,
)
from asahi.router.v1.router_pb2 import (
    CompareRoutingResponse,
    Comparison,
    CompleteResponse,
    CountTokensResponse,
    Decision,
    ListModelsResponse,
    RecordOutcomeRequest,
    Task,
)
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.errors import AsahiError
from asahi_core.keys import KeyDigest


class Authenticator(Protocol):
    """The auth service."""

    async def authenticate(self, key: KeyDigest) -> Verdict:
        """Whose key it is and what it may do."""
        ...

    async def authenticate_person(self, token: str) -> Verdict:
        """Who a bearer token is of and what they may do."""
        ...


@dataclass(frozen=True, slots=True)
class Matching:
    """Which of an organisation's answers: those that match all that is given."""

    request_id: str = ""
    given_before: datetime | None = None
    user_id: str = ""
    document_id: str = ""
    tag: str = ""
    """As `NAME=VALUE`."""


EVERYTHING = Matching()


class AnswerCache(Protocol):
    """The cache service."""

    @property
    def attached(self) -> bool:
        """Whether the standing connection stands: its last heartbeat is less than a second old."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stores that the service does without at the moment: `redis`."""
        ...

    async def lookup(
        self,
        organization_id: str,
        fingerprint: bytes,
        max_age_s: float | None,
        flight_key: bytes,
        lost_flight_id: str = "",
        *,
        step: bool = False,
        semantic: SemanticQuestion | None = None,
    ) -> LookupResponse:
        """The answer kept under the fingerprint, over all tiers, or the flight that leads or is to be followed.

        `lost_flight_id`: one that was to be followed and could not be. `step`: it is asked for a step of a workflow.
        With `semantic` the answer to a similar question, too.
        """
        ...

    async def store(
        self,
        organization_id: str,
        fingerprint: bytes,
        entry: CacheEntry,
        ttl_s: float | None,
        flight_id: str,
        *,
        semantic: SemanticQuestion | None = None,
    ) -> float:
        """Keeps a complete answer and ends the flight that brought it; seconds that it will be served.

        With `semantic` similar questions find it, too.
        """
        ...

    def follow(
        self, organization_id: str, flight_id: str, address: str
    ) -> AbstractAsyncContextManager[AsyncIterator[FollowFlightResponse]]:
        """What happens in a flight that another edge leads, asked at the replica of this address; empty: at any."""
        ...

    def publish(self, flight_id: str, piece: AnswerDelta) -> None:
        """Hands a piece of a flight to those who follow it at other edges."""
        ...

    def end_flight(self, flight_id: str, end: CacheEntry | AsahiError | None, *, known: bool = False) -> None:
        """Says that a flight has ended, and how if anybody follows it; nothing where that is `known`."""
        ...

    async def invalidate(self, organization_id: str, matching: Matching = EVERYTHING) -> int:
        """Drops the entries that match; how many there were."""
        ...

    async def erase_replays(self, organization_id: str, user_id: str = "") -> int:
        """Drops kept answers to requests that are made once, of one end user if one is given; how many."""
        ...

    async def report_hit(self, organization_id: str, request_id: str, *, correct: bool) -> bool:
        """Takes a caller's word on an answer of tier 2; whether it counts."""
        ...

    async def semantic_report(self, organization_id: str, false_hit_bound: float) -> GetSemanticReportResponse:
        """What audits have measured of tier 2's wrong answers."""
        ...

    async def erase_evidence(self, organization_id: str) -> int:
        """Forgets what audits have measured; how many there were."""
        ...

    async def condition(self) -> Sequence[GetConditionResponse.Part]:
        """How the parts behind the service are that it can do without."""
        ...

    async def stats(self, organization_id: str) -> GetStatsResponse:
        """How much is kept."""
        ...


class Completion(Protocol):
    """A completion under way."""

    def events(self) -> AsyncGenerator[CompleteResponse, None]:
        """What happens, in order; to be closed before the completion is."""
        ...

    def confirm(self, attempt: int) -> None:
        """Lets an announced provider call begin, where each waits for that."""
        ...

    def cancel(self) -> None:
        """Gives it up: the provider call ends at once, its outcome still comes."""
        ...


class ModelRouter(Protocol):
    """The router service."""

    def complete(
        self, task: Task, *, explain: bool, stream: bool, confirm: bool
    ) -> AbstractAsyncContextManager[Completion]:
        """Opens a completion; `confirm`: each provider call waits for `Completion.confirm`."""
        ...

    async def decide(self, task: Task) -> Decision:
        """What a completion would decide, with every candidate; calls nobody."""
        ...


class AnswerComparer(Protocol):
    """The router service as one that learns from second answers."""

    def compare(self, task: Task, comparison: Comparison) -> AbstractAsyncContextManager[Completion]:
        """Asks for a second answer to compare with the one given; each provider call waits for `Completion.confirm`."""
        ...


class TokenCounter(Protocol):
    """The router service as one that counts."""

    async def count_tokens(self, task: Task) -> CountTokensResponse:
        """The tokens of a question; no answer is asked for."""
        ...


class Outcomes(Protocol):
    """What the router learns from."""

    async def record_outcome(self, outcome: RecordOutcomeRequest) -> None:
        """Keeps what is known about how good an answer was."""
        ...

    async def compare_routing(self, organization_id: str, policy: RoutingPolicy) -> CompareRoutingResponse:
        """What routing was worth beside simpler policies, by the organisation's own judged answers."""
        ...

    async def erase_outcomes(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        """Drops what is known about answers, to one end user or to all; how many outcomes and examples there were."""
        ...


class Catalog(Protocol):
    """The router service's catalog."""

    async def list_models(self) -> ListModelsResponse:
        """The models, with the provider that serves each here."""
        ...


class Probe(Protocol):
    """The health of the other services."""

    async def serving(self, service: str) -> bool:
        """Whether `service` answers, within a second, that it serves."""
        ...


class Caller(Protocol):
    """Who waits for an answer."""

    async def left(self) -> None:
        """Returns when the caller has hung up."""
        ...
