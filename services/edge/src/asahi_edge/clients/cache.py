"""The cache service: answers that were given before."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import cast

from google.protobuf.duration_pb2 import Duration

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import error_from_bytes, status_from_error
from asahi_edge.clients.cache_attachment import CacheAttachment
from asahi_edge.domain.ports import EVERYTHING, Matching
from asahi_edge.domain.replays import Claim

_REPLAY_TIMEOUT_S = 5.0
_MOST_REPLICAS = 64
_CONDITION_S = 1.0
SERVICE = pb.DESCRIPTOR.services_by_name["CacheService"]


class CacheClient:
    """Calls the cache service. A lookup must not hold a request up: it has `timeout_s`, then it is a miss."""

    def __init__(
        self,
        channel: ServiceChannel,
        attachment: CacheAttachment,
        timeout_s: float,
        open_channel: Callable[[str], ServiceChannel],
    ) -> None:
        """`open_channel` opens one to a single replica of the service, at host:port."""
        self._stub = CacheServiceStub(channel)
        self._open_channel = open_channel
        self._replicas: OrderedDict[str, ServiceChannel] = OrderedDict()
        self._attachment = attachment
        self._timeout_s = timeout_s

    @property
    def attached(self) -> bool:
        """Whether the standing connection stands: its last heartbeat is less than a second old."""
        return self._attachment.stands

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stores that the service does without at the moment: `redis`."""
        return self._attachment.degraded

    async def lookup(
        self,
        organization_id: str,
        fingerprint: bytes,
        max_age_s: float | None,
        flight_key: bytes,
        lost_flight_id: str = "",
        *,
        step: bool = False,
        semantic: pb.SemanticQuestion | None = None,
    ) -> pb.LookupResponse:
        """The answer kept under the fingerprint, over all tiers, or the flight that leads or is to be followed.

        `step`: it is asked for a step of a workflow. With `semantic` the answer to a similar question, too.
        """
        request = pb.LookupRequest(
            organization_id=organization_id, fingerprint=fingerprint, step=step, semantic=semantic
        )
        if flight_key:
            request.flight_key = flight_key
            request.lost_flight_id = lost_flight_id
        if max_age_s is not None:
            request.max_age.CopyFrom(_duration(max_age_s))
        reply = await self._attachment.call(pb.AttachedCall(lookup=request), self._timeout_s)
        return reply.lookup

    async def store(
        self,
        organization_id: str,
        fingerprint: bytes,
        entry: pb.CacheEntry,
        ttl_s: float | None,
        flight_id: str,
        *,
        semantic: pb.SemanticQuestion | None = None,
    ) -> float:
        """Keeps a complete answer and ends the flight that brought it; seconds that it will be served."""
        request = pb.StoreRequest(
            organization_id=organization_id,
            fingerprint=fingerprint,
            entry=entry,
            flight_id=flight_id,
            semantic=semantic,
        )
        if ttl_s is not None:
            request.ttl.CopyFrom(_duration(ttl_s))
        reply = await self._attachment.call(pb.AttachedCall(store=request), self._timeout_s)
        return reply.store.ttl.ToNanoseconds() / 1e9

    @asynccontextmanager
    async def follow(
        self, organization_id: str, flight_id: str, address: str
    ) -> AsyncIterator[AsyncIterator[pb.FollowFlightResponse]]:
        """What happens in a flight that another edge leads; raises the error that it failed with.

        `address`: of the replica where it is followed; empty: there is only one.
        """
        request = pb.FollowFlightRequest(organization_id=organization_id, flight_id=flight_id)
        stub = CacheServiceStub(await self._replica(address)) if address else self._stub
        events = cast("AsyncGenerator[pb.FollowFlightResponse, None]", stub.FollowFlight(request))
        async with aclosing(events), aclosing(_raising(events)) as checked:
            yield checked

    def publish(self, flight_id: str, piece: AnswerDelta) -> None:
        """Hands a piece of a flight to those who follow it at other edges."""
        self._attachment.send(pb.AttachRequest(delta=pb.FlightDelta(flight_id=flight_id, delta=piece)))

    def end_flight(self, flight_id: str, end: pb.CacheEntry | AsahiError | None, *, known: bool = False) -> None:
        """Says that a flight has ended, and how if anybody follows it; nothing where that is `known`."""
        if known:
            self._attachment.let_go(flight_id)
            return
        message = pb.FlightEnd(flight_id=flight_id)
        if isinstance(end, pb.CacheEntry):
            message.finished.CopyFrom(end)
        elif end is not None:
            message.failed_status = status_from_error(end).SerializeToString()
        self._attachment.send(pb.AttachRequest(end=message))

    async def invalidate(self, organization_id: str, matching: Matching = EVERYTHING) -> int:
        """Drops the entries that match; how many there were."""
        request = pb.InvalidateRequest(
            organization_id=organization_id,
            request_id=matching.request_id,
            user_id=matching.user_id,
            document_id=matching.document_id,
            tag=matching.tag,
        )
        if matching.given_before is not None:
            request.given_before.FromDatetime(matching.given_before)
        return int((await self._stub.Invalidate(request)).dropped)

    async def begin_replay(self, claim: Claim, lease_s: float) -> pb.BeginReplayResponse:
        """Begins a request that is made once or prolongs its lease, or says what became of it."""
        request = pb.BeginReplayRequest(
            name=_replay_name(claim),
            body_digest=claim.body_digest,
            request_id=claim.request_id,
            user_id=claim.user_id,
            lease=_duration(lease_s),
        )
        return await self._stub.BeginReplay(request, timeout=_REPLAY_TIMEOUT_S)

    async def end_replay(self, claim: Claim, answer: pb.ReplayedAnswer | None, *, free: bool) -> None:
        """Keeps the answer; without one: whether the request may be made again."""
        request = pb.EndReplayRequest(name=_replay_name(claim), request_id=claim.request_id)
        if answer is not None:
            request.answer.CopyFrom(answer)
        elif free:
            request.free = True
        await self._stub.EndReplay(request, timeout=_REPLAY_TIMEOUT_S)

    async def erase_replays(self, organization_id: str, user_id: str = "") -> int:
        """Drops kept answers of an organisation, or of one of its end users; how many there were."""
        request = pb.EraseReplaysRequest(organization_id=organization_id, user_id=user_id)
        return int((await self._stub.EraseReplays(request)).dropped)

    async def report_hit(self, organization_id: str, request_id: str, *, correct: bool) -> bool:
        """Takes a caller's word on an answer of tier 2; whether it counts."""
        request = pb.ReportHitRequest(organization_id=organization_id, request_id=request_id, correct=correct)
        return bool((await self._stub.ReportHit(request, timeout=_REPLAY_TIMEOUT_S)).counted)

    async def semantic_report(self, organization_id: str, false_hit_bound: float) -> pb.GetSemanticReportResponse:
        """What audits have measured of tier 2's wrong answers."""
        request = pb.GetSemanticReportRequest(organization_id=organization_id, false_hit_bound=false_hit_bound)
        return await self._stub.GetSemanticReport(request, timeout=_REPLAY_TIMEOUT_S)

    async def erase_evidence(self, organization_id: str) -> int:
        """Forgets what audits have measured; how many there were."""
        return int((await self._stub.EraseEvidence(pb.EraseEvidenceRequest(organization_id=organization_id))).dropped)

    async def condition(self) -> Sequence[pb.GetConditionResponse.Part]:
        """How the parts behind the service are that it can do without."""
        return list((await self._stub.GetCondition(pb.GetConditionRequest(), timeout=_CONDITION_S)).parts)

    async def stats(self, organization_id: str) -> pb.GetStatsResponse:
        """How much is kept."""
        return await self._stub.GetStats(pb.GetStatsRequest(organization_id=organization_id))

    async def close(self) -> None:
        """Closes the connections to single replicas."""
        while self._replicas:
            await self._replicas.popitem()[1].close()

    async def _replica(self, address: str) -> ServiceChannel:
        """A connection to the replica; those longest unused are closed, flights that are followed on them end."""
        if address not in self._replicas:
            self._replicas[address] = self._open_channel(address)
        self._replicas.move_to_end(address)
        while len(self._replicas) > _MOST_REPLICAS:
            await self._replicas.popitem(last=False)[1].close()
        return self._replicas[address]


async def _raising(
    events: AsyncIterator[pb.FollowFlightResponse],
) -> AsyncGenerator[pb.FollowFlightResponse, None]:
    async for event in events:
        if event.WhichOneof("event") == "failed_status":
            raise error_from_bytes(event.failed_status)
        yield event


def _replay_name(claim: Claim) -> pb.ReplayName:
    return pb.ReplayName(organization_id=claim.organization_id, principal_id=claim.principal_id, key=claim.key)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(int(seconds * 1_000_000))
    return duration
