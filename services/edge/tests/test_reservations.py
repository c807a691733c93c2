"""Reservations of many calls in one message, over a real connection: who travels together, and who suffers for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceServicer, add_BillingServiceServicer_to_server
from asahi_core.context import current_call
from asahi_core.errors import BudgetReserved, DeadlineExceeded, InternalError, ServiceUnavailable
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.status import error_from_bytes, status_from_error, to_rpc_status
from asahi_edge.clients.billing import SERVICE, BillingClient
from services.edge.tests.flying import soon, until

_PLAN = pb.SpendingPlan(organization_id="org-1", policy_version=1)


class _Billing(BillingServiceServicer):
    """Refuses requests named `poor`; answers when `proceed` is set."""

    def __init__(self) -> None:
        self.asked: list[pb.ReserveManyRequest] = []
        self.proceed = asyncio.Event()
        self.proceed.set()
        self.forgets = False
        self.is_older = False
        self.asked_alone: list[pb.ReserveRequest] = []

    def names(self) -> list[list[str]]:
        return [[one.request_id for one in asked.reservations] for asked in self.asked]

    async def ReserveMany(self, request: pb.ReserveManyRequest, context: Any) -> pb.ReserveManyResponse:  # noqa: N802
        if self.is_older:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        self.asked.append(request)
        await self.proceed.wait()
        if self.forgets:
            return pb.ReserveManyResponse()
        return pb.ReserveManyResponse(outcomes=[_outcome(one.request_id) for one in request.reservations])

    async def Reserve(self, request: pb.ReserveRequest, context: Any) -> pb.ReserveResponse:  # noqa: N802
        self.asked_alone.append(request)
        outcome = _outcome(request.request_id)
        if outcome.HasField("failed_status"):
            await context.abort_with_status(to_rpc_status(error_from_bytes(outcome.failed_status)))
        return outcome.held


def _outcome(name: str) -> pb.ReserveOutcome:
    if name == "poor":
        error = BudgetReserved("Calls under way hold it.", retry_after_s=1.0)
        return pb.ReserveOutcome(failed_status=status_from_error(error).SerializeToString())
    return pb.ReserveOutcome(held=pb.ReserveResponse())


@asynccontextmanager
async def _billing(timeout_s: float = 30.0) -> AsyncIterator[tuple[_Billing, BillingClient]]:
    servicer, server = _Billing(), grpc.aio.server()  # type: ignore[abstract]  # nothing else of it is called
    add_BillingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with ServiceChannel("billing", f"127.0.0.1:{port}", SERVICE, timeout_s=30.0) as channel:
            yield servicer, BillingClient(channel, timeout_s)
    finally:
        await server.stop(0)


def _reserving(client: BillingClient, name: str, *plans: pb.SpendingPlan) -> "asyncio.Task[None]":
    request = pb.ReserveRequest(organization_id="org-1", request_id=name, attempt=1)
    return asyncio.create_task(client.reserve(request, plans or [_PLAN]))


async def test_what_is_asked_in_one_turn_travels_together_and_their_plans_once() -> None:
    async with _billing() as (service, client):
        newer = pb.SpendingPlan(organization_id="org-1", policy_version=2)
        await soon(asyncio.gather(_reserving(client, "a"), _reserving(client, "b", newer), _reserving(client, "c")))
        assert service.names() == [["a", "b", "c"]]
        assert [plan.policy_version for plan in service.asked[0].plans] == [2]


async def test_what_comes_while_one_is_under_way_goes_with_the_next() -> None:
    async with _billing() as (service, client):
        service.proceed.clear()
        first = _reserving(client, "a")
        await until(lambda: service.names() == [["a"]])
        others = [_reserving(client, name) for name in ("b", "c")]
        await until(lambda: service.names() == [["a"], ["b", "c"]])  # a slow answer holds up nobody else's question
        service.proceed.set()
        await soon(asyncio.gather(first, *others))


async def test_a_refusal_is_its_own_callers_alone() -> None:
    async with _billing() as (_, client):
        fine, poor = _reserving(client, "a"), _reserving(client, "poor")
        await soon(fine)
        with pytest.raises(BudgetReserved) as refused:
            await soon(poor)
        assert refused.value.retry_after_s == 1.0


async def test_a_replica_of_an_older_version_is_asked_for_each_alone() -> None:
    async with _billing() as (service, client):
        service.is_older = True
        fine, poor = _reserving(client, "a"), _reserving(client, "poor")
        await soon(fine)
        with pytest.raises(BudgetReserved):
            await soon(poor)
        assert {one.request_id: list(one.plans) for one in service.asked_alone} == {"a": [_PLAN], "poor": [_PLAN]}
        service.is_older = False
        await soon(_reserving(client, "b"))
        assert service.names() == [["b"]]


async def test_a_caller_who_has_left_is_not_asked_for() -> None:
    async with _billing() as (service, client):
        leaving, staying = _reserving(client, "a"), _reserving(client, "b")
        await asyncio.sleep(0)
        leaving.cancel()
        await soon(staying)
        assert service.names() == [["b"]]


async def test_a_callers_deadline_is_nobody_elses() -> None:
    async with _billing() as (service, client):
        service.proceed.clear()
        late = asyncio.get_running_loop().time() + 0.05
        outer = current_call.set(replace(current_call.get(), deadline=late))
        hurried = _reserving(client, "a")
        current_call.reset(outer)
        patient = _reserving(client, "b")
        with pytest.raises(DeadlineExceeded):
            await soon(hurried)
        service.proceed.set()
        await soon(patient)
        assert service.names() == [["a", "b"]]


async def test_billing_that_does_not_answer_in_time_is_waited_for_no_longer() -> None:
    async with _billing(timeout_s=0.05) as (service, client):
        service.proceed.clear()
        with pytest.raises(DeadlineExceeded):
            await soon(_reserving(client, "a"))


async def test_an_answer_that_is_none_is_told_to_all() -> None:
    async with _billing() as (service, client):
        service.forgets = True
        asked = [_reserving(client, name) for name in "ab"]
        outcomes = await soon(asyncio.gather(*asked, return_exceptions=True))
        assert [type(outcome) for outcome in outcomes] == [InternalError, InternalError]


async def test_without_billing_all_are_told_so() -> None:
    async with ServiceChannel("billing", "127.0.0.1:1", SERVICE, timeout_s=30.0) as channel:
        client = BillingClient(channel, 30.0)
        outcomes = await soon(asyncio.gather(*(_reserving(client, name) for name in "ab"), return_exceptions=True))
        assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable, ServiceUnavailable]
