"""The door of gRPC: whose call it is and whether it is let in, before gRPC takes anything of its message.

How large a message is gRPC tells when all of it is there, 40 MB at most. So few may be on their way for longer than a
small one takes: together with those that came, they are the memory that callers can take.
"""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi_core.context import CallContext, current_call
from asahi_core.errors import AsahiError, Cancelled, DeadlineExceeded, Overloaded
from asahi_core.ids import Ids
from asahi_edge.api.authentication import key_in
from asahi_edge.domain.access import require_scope
from asahi_edge.domain.address_limits import peer_address
from asahi_edge.domain.admission import Admission, arrived
from asahi_edge.domain.body_budget import BodyBudget
from asahi_edge.domain.verdicts import Verdicts

_Context = grpc.aio.ServicerContext[Any, Any]
_SOON_S = 0.1
"""Within which a message is there that is small; looked for twice, lest it be late because this process is."""
_LARGE_AT_ONCE = 8
"""Messages that may take longer at a time, half of them of one organisation."""
_PATIENCE_S = 60.0
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class LetIn:
    """A call that was let in."""

    verdict: Verdict
    metadata: Mapping[str, str]


let_in: ContextVar[LetIn] = ContextVar("let_in")
"""The call that is being answered."""


class RpcDoor:
    """Mints a call's id, limits its time, asks whose key it is, for a place, and room for what is sent."""

    def __init__(
        self, verdicts: Verdicts, admission: Admission, bodies: BodyBudget, ids: Ids, timeout_s: float
    ) -> None:
        self._verdicts = verdicts
        self._admission = admission
        self._bodies = bodies
        self._ids = ids
        self._timeout_s = timeout_s
        self._large: list[str] = []
        """Organisations of messages that take long."""

    async def read(self, context: _Context) -> bytes:
        """The call's message, which is counted as taking memory until the call has ended.

        Raises:
            InvalidApiKey, RateLimitExceeded, ServiceUnavailable: as of `Verdicts.verdict`.
            PermissionDenied: the key may not ask for inference.
            Overloaded: there is no place, or no room; nothing or little of the message was read.
            DeadlineExceeded: it did not come within a minute.
            Cancelled: none was sent.
        """
        call = current_call.get()
        limit = asyncio.get_running_loop().time() + self._timeout_s
        deadline = limit if call.deadline is None else min(limit, call.deadline)
        current_call.set(CallContext(self._ids.request_id(), call.traceparent, deadline))
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        verdict = await self._verdicts.verdict(key_in(metadata), peer_address(context.peer()))
        require_scope(verdict, Scope.SCOPE_INFER)
        place = self._admission.take(verdict.organization_id)
        share = self._bodies.share(verdict.organization_id)
        arrived.set(place)
        place.after(share.free)
        context.add_done_callback(lambda _: place.leave())  # type: ignore[arg-type]  # its stub names a type variable
        share.require(1)
        let_in.set(LetIn(verdict, metadata))
        message = await self._message(context, verdict.organization_id)
        share.add(len(message))
        return message

    async def _message(self, context: _Context, organization_id: str) -> bytes:
        waiting = _Waiting(self._large, organization_id)
        try:
            async with asyncio.timeout(None) as patience:
                waiting.begin(patience)
                message = await context.read()
        except TimeoutError as error:
            raise waiting.refusal() from error
        finally:
            waiting.end()
        if not isinstance(message, bytes):
            raise Cancelled("The call ended before its message had come.")
        return message


class _Waiting:
    """Waits for a message: shortly, or longer as one of the few that may take long."""

    __slots__ = ("_is_large", "_large", "_looking", "_loop", "_organization_id", "_patience")

    def __init__(self, large: list[str], organization_id: str) -> None:
        """`large`: the organisations whose messages take long at the moment, once for each."""
        self._large = large
        self._organization_id = organization_id
        self._is_large = False
        self._loop = asyncio.get_running_loop()

    def begin(self, patience: asyncio.Timeout) -> None:
        self._patience = patience
        self._looking = self._loop.call_later(_SOON_S / 2, self._look_again)

    def end(self) -> None:
        self._looking.cancel()
        if self._is_large:
            self._large.remove(self._organization_id)

    def refusal(self) -> AsahiError:
        if self._is_large:
            return DeadlineExceeded(f"The message did not come within {_PATIENCE_S:.0f} s; send it faster.")
        message = f"Other messages are on their way; there is no room for one that takes longer than {_SOON_S:g} s."
        return Overloaded(f"{message} Send the call again shortly.", retry_after_s=_RETRY_AFTER_S)

    def _look_again(self) -> None:
        self._looking = self._loop.call_later(_SOON_S / 2, self._look)

    def _look(self) -> None:
        of_this = self._large.count(self._organization_id)
        self._is_large = len(self._large) < _LARGE_AT_ONCE and of_this < _LARGE_AT_ONCE // 2
        if self._is_large:
            self._large.append(self._organization_id)
        self._patience.reschedule(self._loop.time() + (_PATIENCE_S if self._is_large else 0.0))
