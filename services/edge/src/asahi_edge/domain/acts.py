"""Acts on other services, which the audit chain has as two entries: that one begins, and how it ended."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct

from asahi.auth.v1.auth_pb2 import Actor, BeginActRequest, EndActRequest
from asahi_core.errors import AsahiError, InternalError
from asahi_edge.domain.governance_ports import Governance


@dataclass(slots=True)
class Act:
    """An act under way; `results` goes into the audit chain when it ends."""

    id: str
    results: dict[str, int | str] = field(default_factory=dict)


@asynccontextmanager
async def audited(
    governance: Governance,
    actor: Actor,
    organization_id: str,
    action: str,
    *,
    user_id: str = "",
    details: Mapping[str, str] | None = None,
) -> AsyncIterator[Act]:
    """Brackets what is done inside. An act whose end cannot be written stays visible as one without an outcome.

    Raises:
        NotFound: the organisation is unknown.
    """
    begun = await governance.begin_act(
        BeginActRequest(
            actor=actor, organization_id=organization_id, action=action, user_id=user_id, details=_struct(details or {})
        )
    )
    act = Act(begun.act_id)
    outcome = InternalError.code
    try:
        yield act
        outcome = "done"
    except AsahiError as error:
        outcome = error.code
        raise
    finally:
        await governance.end_act(
            EndActRequest(organization_id=organization_id, act_id=act.id, outcome=outcome, details=_struct(act.results))
        )


def _struct(values: Mapping[str, int | str]) -> Struct:
    struct = Struct()
    struct.update(dict(values))
    return struct
