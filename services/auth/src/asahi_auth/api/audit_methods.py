"""The methods of `asahi.auth.v1.AuthService` that are about the audit chains."""

import json
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.api.messages import actor_of
from asahi_auth.domain.audit import AuditRecord
from asahi_auth.domain.audit_trail import Act, AuditTrail, Refusals
from asahi_auth.domain.audit_verification import Verified
from asahi_core.errors import InvalidRequest
from asahi_core.times import moment_of

_Context = grpc.aio.ServicerContext[Any, Any]


class AuditMethods:
    """The part of the servicer that knows the audit chains."""

    _audit: AuditTrail

    async def BeginAct(self, request: pb.BeginActRequest, context: _Context) -> pb.BeginActResponse:
        act = Act(
            organization_id=request.organization_id,
            action=request.action,
            target=request.target,
            details=_plain(request.details),
            user_id=request.user_id,
            address=request.actor.address,
        )
        return pb.BeginActResponse(act_id=await self._audit.begin(actor_of(request.actor), act))

    async def EndAct(self, request: pb.EndActRequest, context: _Context) -> pb.EndActResponse:
        results = _plain(request.details)
        await self._audit.end(request.organization_id, request.act_id, request.outcome, results)
        return pb.EndActResponse()

    async def RecordRefusals(self, request: pb.RecordRefusalsRequest, context: _Context) -> pb.RecordRefusalsResponse:
        await self._audit.record_refusals([_refusals_of(one) for one in request.refusals])
        return pb.RecordRefusalsResponse()

    async def ListAudit(self, request: pb.ListAuditRequest, context: _Context) -> pb.ListAuditResponse:
        records, more = await self._audit.page(request.organization_id, request.page_size, request.page_token)
        return pb.ListAuditResponse(entries=[_entry_of(record) for record in records], next_page_token=more)

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: _Context) -> pb.VerifyAuditResponse:
        return _verification_of(await self._audit.verify(request.organization_id))


def _entry_of(record: AuditRecord) -> pb.AuditEntry:
    entry = pb.AuditEntry(
        sequence=record.sequence,
        actor=record.actor,
        action=record.action,
        target=record.target,
        details=_struct(record.details),
        outcome=record.outcome,
        address=record.address,
        request_id=record.request_id,
        hmac=record.hmac,
    )
    entry.occurred_at.FromDatetime(record.occurred_at)
    return entry


def _verification_of(verified: Verified) -> pb.VerifyAuditResponse:
    message = pb.VerifyAuditResponse(
        entries=verified.entries,
        checkpoints=verified.checkpoints,
        faults=[
            pb.AuditFault(sequence=fault.sequence, kind=fault.kind, description=fault.description)
            for fault in verified.faults
        ],
        last_checkpoint_sequence=verified.last_checkpoint_sequence,
    )
    if verified.last_checkpoint_at is not None:
        message.last_checkpoint_at.FromDatetime(verified.last_checkpoint_at)
    return message


def _refusals_of(counted: pb.RefusedLogins) -> Refusals:
    return Refusals(moment_of(counted.minute, "refusals.minute"), counted.address, counted.count)


def _plain(details: Struct) -> dict[str, Any]:
    """Details as plain values; raises InvalidRequest for numbers that JSON has not."""
    try:
        return MessageToDict(details)
    except ValueError as error:
        raise InvalidRequest(f"details cannot be kept as JSON: {error}.", param="details") from error


def _struct(text: str) -> Struct:
    """Kept details; empty where somebody changed them into no JSON object, which the verification tells."""
    struct = Struct()
    try:
        struct.update(json.loads(text))
    except (AttributeError, TypeError, ValueError):
        struct.Clear()
    return struct
