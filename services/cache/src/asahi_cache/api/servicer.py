"""`asahi.cache.v1.CacheService`: from messages to the domain and back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
from google.protobuf.duration_pb2 import Duration

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1 import cache_pb2_grpc
from asahi_cache.api.semantic import SemanticDesk
from asahi_cache.domain.attachments import Attachment
from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.embedding import Embedder
from asahi_cache.domain.flights import Boarding, Flights
from asahi_cache.domain.labels import labels_of
from asahi_cache.domain.replays import ReplayId, Replays, ReplayState, replay_id
from asahi_cache.domain.rules import check_flight_key
from asahi_cache.domain.semantic.equivalence import say_the_same, shipped_judge
from asahi_cache.domain.shared_flights import SharedFlights, Wanted
from asahi_cache.domain.tiers import Query, Selection
from asahi_core.errors import AsahiError, InvalidRequest
from asahi_core.rpc.status import status_from_error
from asahi_core.times import nanos_of

_MOST_CALLS = 1000
"""Of one edge, answered at the same time."""
_Context = grpc.aio.ServicerContext[Any, Any]


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves an `AnswerCache`, the `Flights` of what it lacks, and the embedding model."""

    def __init__(
        self,
        cache: AnswerCache,
        flights: Flights,
        replays: Replays,
        embedder: Embedder,
        *,
        semantic: SemanticDesk,
        shared_flights: SharedFlights | None = None,
    ) -> None:
        """`shared_flights`: the same flights as part of those of all replicas; None: this one is the only one."""
        self._cache = cache
        self._semantic = semantic
        self._flights = flights
        self._shared_flights = shared_flights
        self._replays = replays
        self._embedder = embedder

    async def Lookup(self, request: pb.LookupRequest, context: _Context) -> pb.LookupResponse:
        return await self._look_up(request)

    async def Store(self, request: pb.StoreRequest, context: _Context) -> pb.StoreResponse:
        return await self._store(request)

    async def _look_up(self, request: pb.LookupRequest) -> pb.LookupResponse:
        if request.flight_key:
            check_flight_key(request.flight_key)
        max_age_s = _seconds(request.max_age) if request.HasField("max_age") else None
        query = Query(request.organization_id, request.fingerprint, max_age_s, request.step)
        started = time.monotonic()
        hit, boarding = await self._cache.lookup(query), None
        response = pb.LookupResponse()
        if hit is None and request.HasField("semantic") and await self._semantic.look_up(request, max_age_s, response):
            return response
        if hit is None and request.flight_key:
            boarding = await self._board(request, time.monotonic() - started)
            if boarding is not None and not boarding.flight_id:
                hit, boarding = await self._cache.lookup(query), None
        if hit is not None:
            response.hit.tier = hit.tier
            response.hit.entry.MergeFromString(hit.found.entry)
            _set(response.hit.ttl, hit.found.ttl_s)
        elif boarding is not None and boarding.leads:
            response.lead_flight_id = boarding.flight_id
        elif boarding is not None:
            response.follow_flight_id, response.follow_address = boarding.flight_id, boarding.address
        return response

    async def _board(self, request: pb.LookupRequest, waited_s: float) -> Boarding | None:
        if self._shared_flights is None:
            return self._flights.board(request.organization_id, request.flight_key, request.edge_id)
        wanted = Wanted(
            request.organization_id,
            request.flight_key,
            request.fingerprint,
            request.lost_flight_id,
            stored_will_do=not request.HasField("max_age"),
            waited_s=waited_s,
        )
        return await self._shared_flights.board(wanted, request.edge_id)

    async def _store(self, request: pb.StoreRequest) -> pb.StoreResponse:
        ttl_s = _seconds(request.ttl) if request.HasField("ttl") else None
        served_s = await self._cache.store(request.organization_id, request.fingerprint, request.entry, ttl_s)
        if request.flight_id:
            self._flights.land(request.organization_id, request.flight_id, request.entry)
        self._semantic.learn(request, served_s)
        response = pb.StoreResponse()
        _set(response.ttl, served_s)
        return response

    async def FollowFlight(
        self, request: pb.FollowFlightRequest, context: _Context
    ) -> AsyncIterator[pb.FollowFlightResponse]:
        flight = self._flights.join(request.organization_id, request.flight_id)
        _when_over(context, lambda: self._flights.leave(flight))
        async for event in flight.events():
            yield event

    async def Attach(
        self, requests: AsyncIterator[pb.AttachRequest], context: _Context
    ) -> AsyncIterator[pb.AttachResponse]:
        attachment = self._flights.attach(_edge_id(await anext(requests, pb.AttachRequest())))
        _when_over(context, attachment.end)
        listening = asyncio.create_task(self._listen(requests, attachment))
        try:
            async for message in attachment.messages():
                yield message
            if listening.done():
                listening.result()
        finally:
            listening.cancel()

    async def Invalidate(self, request: pb.InvalidateRequest, context: _Context) -> pb.InvalidateResponse:
        before = nanos_of(request.given_before, "given_before") if request.HasField("given_before") else None
        named = pb.CacheEntry(
            request_id=request.request_id,
            user_id=request.user_id,
            document_id=request.document_id,
            tags=[request.tag] if request.tag else [],
        )
        selection = Selection(request.organization_id, frozenset(labels_of(named)), before)
        try:
            dropped = await self._cache.invalidate(selection)
        finally:  # also where other replicas could not be told
            await self._semantic.drop(selection)
        return pb.InvalidateResponse(dropped=dropped)

    async def ReportHit(self, request: pb.ReportHitRequest, context: _Context) -> pb.ReportHitResponse:
        return await self._semantic.report_hit(request)

    async def GetSemanticReport(
        self, request: pb.GetSemanticReportRequest, context: _Context
    ) -> pb.GetSemanticReportResponse:
        return await self._semantic.report(request)

    async def EraseEvidence(self, request: pb.EraseEvidenceRequest, context: _Context) -> pb.EraseEvidenceResponse:
        return await self._semantic.erase(request)

    async def GetCondition(self, request: pb.GetConditionRequest, context: _Context) -> pb.GetConditionResponse:
        return pb.GetConditionResponse(parts=[self._semantic.condition()])

    async def GetStats(self, request: pb.GetStatsRequest, context: _Context) -> pb.GetStatsResponse:
        usage = await self._cache.usage(request.organization_id)
        return pb.GetStatsResponse(entries=usage.entries, bytes=usage.bytes)

    async def BeginReplay(self, request: pb.BeginReplayRequest, context: _Context) -> pb.BeginReplayResponse:
        found = await self._replays.begin(
            _replay_id(request.name),
            request.body_digest,
            request.request_id,
            request.user_id,
            _seconds(request.lease),
        )
        if found.state is ReplayState.ANSWERED:
            return pb.BeginReplayResponse(answer=pb.ReplayedAnswer.FromString(found.answer))
        begun = found.request_id == request.request_id
        return pb.BeginReplayResponse(begun=True) if begun else pb.BeginReplayResponse(under_way=True)

    async def EndReplay(self, request: pb.EndReplayRequest, context: _Context) -> pb.EndReplayResponse:
        named = _replay_id(request.name)
        match request.WhichOneof("end"):
            case "answer":
                await self._replays.answer(named, request.request_id, request.answer.SerializeToString())
            case "free":
                await self._replays.free(named, request.request_id)
            case _:
                await self._replays.lose(named, request.request_id)
        return pb.EndReplayResponse()

    async def EraseReplays(self, request: pb.EraseReplaysRequest, context: _Context) -> pb.EraseReplaysResponse:
        return pb.EraseReplaysResponse(dropped=await self._replays.erase(request.organization_id, request.user_id))

    async def Embed(self, request: pb.EmbedRequest, context: _Context) -> pb.EmbedResponse:
        if not request.texts:
            raise InvalidRequest("There must be at least one text.", param="texts")
        read = await self._embedder.read(request.texts)
        response = pb.EmbedResponse(model=self._embedder.model)
        for vector, tokens, cut in zip(read.vectors, read.tokens, read.cut, strict=True):
            response.embeddings.add(vector=vector.astype("<f4").tobytes(), tokens=tokens, cut=cut)
        return response

    async def CompareAnswers(self, request: pb.CompareAnswersRequest, context: _Context) -> pb.CompareAnswersResponse:
        same = await say_the_same(shipped_judge(), self._embedder, request.one, request.other)
        return pb.CompareAnswersResponse(same=same)

    async def _listen(self, requests: AsyncIterator[pb.AttachRequest], attachment: Attachment) -> None:
        """Takes what the edge says, up to its last word; its connection ends with that.

        Calls that may wait for a store do not hold up those behind them.
        """
        answering: set[asyncio.Task[None]] = set()
        try:
            async for request in requests:
                for said in request.several or (request,):
                    await self._hear(said, attachment, answering)
        finally:
            for call in answering:
                call.cancel()
            attachment.end()

    async def _hear(self, said: pb.AttachRequest, attachment: Attachment, answering: set[asyncio.Task[None]]) -> None:
        match said.WhichOneof("message"):
            case "delta":
                self._flights.publish(attachment, said.delta)
            case "end":
                self._flights.end(attachment, said.end)
            case "call" if self._may_wait(said.call) and len(answering) < _MOST_CALLS:
                answering.add(call := asyncio.create_task(self._answer(said.call, attachment)))
                call.add_done_callback(answering.discard)
            case "call":
                await self._answer(said.call, attachment)
            case other:
                message = f"An attached edge sends `delta`, `end` or `call`, not {other!r}."
                raise InvalidRequest(message, param="message")

    def _may_wait(self, call: pb.AttachedCall) -> bool:
        return self._cache.waits or call.lookup.HasField("semantic")

    async def _answer(self, call: pb.AttachedCall, attachment: Attachment) -> None:
        try:
            attachment.send(pb.AttachResponse(reply=await self._reply(call)))
        except Exception:
            attachment.end()  # the edge waits for an answer that does not come
            raise

    async def _reply(self, call: pb.AttachedCall) -> pb.AttachedReply:
        reply = pb.AttachedReply(call_id=call.call_id)
        try:
            match call.WhichOneof("request"):
                case "lookup":
                    reply.lookup.CopyFrom(await self._look_up(call.lookup))
                case "store":
                    reply.store.CopyFrom(await self._store(call.store))
                case _:
                    raise InvalidRequest("A call must be `lookup` or `store`.", param="call.request")
        except AsahiError as error:
            reply.failed_status = status_from_error(error).SerializeToString()
        return reply


def _replay_id(name: pb.ReplayName) -> ReplayId:
    return replay_id(name.organization_id, name.principal_id, name.key)


def _edge_id(request: pb.AttachRequest) -> str:
    if not request.hello.edge_id:
        raise InvalidRequest("The first message must be `hello` with the edge's id.", param="hello.edge_id")
    return request.hello.edge_id


def _when_over(context: _Context, callback: Callable[[], None]) -> None:
    """Has `callback` called when the call is over, whichever side ended it and wherever it stood."""
    context.add_done_callback(cast(Any, lambda _context: callback()))  # its type is nominal


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _set(duration: Duration, seconds: float) -> None:
    duration.FromNanoseconds(int(seconds * 1e9))
