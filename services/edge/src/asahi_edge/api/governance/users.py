"""`DELETE /governance/users/{user_id}/data`: erases what is kept of one end user."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.governance.queries import OrganizationId
from asahi_edge.api.governance.receipts import receipt_of
from asahi_edge.api.json import json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.receipts import ErasureReceipt
from asahi_edge.api.services import services_of
from asahi_edge.domain.erasure import Eraser

router = APIRouter()


@router.delete(
    "/governance/users/{user_id}/data",
    tags=["Governance"],
    **documented(summary="Erase an end user's data", answer=ErasureReceipt, errors=(400, 401, 403, 404, 503)),
)
async def erase_user_data(
    request: Request,
    user_id: Annotated[str, Path(description="The end user, as sent in `user_id` or `user`.", max_length=200)],
    organization_id: OrganizationId = None,
) -> Response:
    """Erase what is kept of one end user, with a receipt: what was erased, and what is kept and why.

    Answers alike for a user whom nobody knows. Safe to repeat when an answer was lost.
    """
    services = services_of(request)
    actor, organization = await authorize_governance(request, organization_id)
    eraser = Eraser(
        services.governance,
        services.cache,
        services.responses,
        services.ledger,
        services.outcomes,
        verdicts=services.verdicts,
    )
    erasure = await eraser.erase_user(actor, organization, user_id)
    return json_response(receipt_of(erasure, services.clock.now()))
