"""Reservations of many calls in one message, for a message and a transaction cost as much as what is in them.

Nothing waits in order to be gathered: what comes in one turn of the loop, or while a message is under way, goes with
the next. A billing replica that is slow to answer holds up nobody but those in its message.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass

import grpc

from asahi.billing.v1 import billing_pb2 as pb
from asahi.billing.v1.billing_pb2_grpc import BillingServiceStub
from asahi_core.context import current_call
from asahi_core.errors import AsahiError, InternalError
from asahi_core.rpc.status import error_from_bytes, error_from_code

_MOST = 500
"""In a message."""
_TURN_S = 0.02
"""How long the next message waits for the answer to the one before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    request: pb.ReserveRequest
    plans: Sequence[pb.SpendingPlan]
    held: "asyncio.Future[None]"


class Reservations:
    """Reserves. Each call has `timeout_s`, or what is left of its caller's time."""

    def __init__(self, stub: BillingServiceStub, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._waiting: deque[_Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def reserve(self, request: pb.ReserveRequest, plans: Sequence[pb.SpendingPlan]) -> None:
        """Holds a call's upper bound against `plans`; raises what `BillingService.Reserve` fails with."""
        loop, deadline = asyncio.get_running_loop(), current_call.get().deadline
        latest = loop.time() + self._timeout_s
        one = _Waiting(request, plans, loop.create_future())
        self._waiting.append(one)
        if self._sending is None:
            # Apart from the call that happens to come first: the others must not have its deadline.
            self._sending = asyncio.create_task(self._send_all(), context=Context())
        try:
            async with asyncio.timeout_at(latest if deadline is None else min(latest, deadline)):
                await one.held
        except TimeoutError as error:
            raise error_from_code(grpc.StatusCode.DEADLINE_EXCEEDED, "billing") from error

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                sending = asyncio.create_task(self._send(self._take()))
                self._under_way.add(sending)
                sending.add_done_callback(self._under_way.discard)
                await asyncio.wait((sending,), timeout=_TURN_S)
        finally:
            self._sending = None

    def _take(self) -> list[_Waiting]:
        """The oldest that wait, without those whose callers have given up."""
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < _MOST:
            one = self._waiting.popleft()
            if not one.held.done():
                taken.append(one)
        return taken

    async def _send(self, some: Sequence[_Waiting]) -> None:
        if not some:
            return
        plans: dict[tuple[str, str], pb.SpendingPlan] = {}
        for plan in (plan for one in some for plan in one.plans):
            known = plans.setdefault((plan.organization_id, plan.api_key_id), plan)
            if known.policy_version < plan.policy_version:
                plans[plan.organization_id, plan.api_key_id] = plan
        asked = pb.ReserveManyRequest(reservations=[one.request for one in some], plans=plans.values())
        outcomes: list[AsahiError | None]
        try:
            answer = await self._stub.ReserveMany(asked, timeout=self._timeout_s)
            outcomes = [_error_of(outcome) for outcome in answer.outcomes]
            if len(outcomes) != len(some):
                raise InternalError(f"Billing was asked for {len(some)} holds and answered {len(outcomes)}.")
        except AsahiError as error:
            if _is_of_an_older_version(error):
                outcomes = list(await asyncio.gather(*map(self._send_alone, some)))
            else:
                outcomes = [error] * len(some)
        for one, outcome in zip(some, outcomes, strict=True):
            if one.held.done():
                continue
            if outcome is None:
                one.held.set_result(None)
            else:
                one.held.set_exception(outcome)

    async def _send_alone(self, one: _Waiting) -> AsahiError | None:
        request = pb.ReserveRequest()
        request.CopyFrom(one.request)
        request.plans.extend(one.plans)
        try:
            await self._stub.Reserve(request, timeout=self._timeout_s)
        except AsahiError as error:
            return error
        return None


def _is_of_an_older_version(error: AsahiError) -> bool:
    """Whether the replica does not know the call, as may be in the midst of an upgrade."""
    cause = error.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() is grpc.StatusCode.UNIMPLEMENTED


def _error_of(outcome: pb.ReserveOutcome) -> AsahiError | None:
    return error_from_bytes(outcome.failed_status) if outcome.HasField("failed_status") else None
