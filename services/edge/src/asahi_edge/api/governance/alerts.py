"""`GET /governance/alerts`: alerts of budgets, what became of them, and what their posts are signed with."""

import json

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import GetPolicyRequest
from asahi.billing.v1.alerts_pb2 import AlertState, BudgetAlert
from asahi_edge.api.authentication import authorize_governance, is_operator
from asahi_edge.api.governance.queries import OrganizationId
from asahi_edge.api.json import json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.alerts import Alerts, AlertsAnswer, AlertView
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339

router = APIRouter()


@router.get(
    "/governance/alerts",
    tags=["Governance"],
    **documented(summary="Alerts of budgets", answer=AlertsAnswer, errors=(400, 401, 403, 404, 503)),
)
async def get_alerts(request: Request, organization_id: OrganizationId = None) -> Response:
    """Alerts of budgets, newest first, and the secret that their posts are signed with."""
    services = services_of(request)
    _, organization = await authorize_governance(request, organization_id)
    if is_operator(request):  # auth alone knows which organizations there are
        await services.governance.get_policy(GetPolicyRequest(organization_id=organization))
    found = await services.alerts.alerts(organization)
    answer = Alerts(
        organization_id=organization,
        signing_secret=found.signing_secret,
        alerts=[_view(alert) for alert in found.alerts],
    )
    return json_response(AlertsAnswer(answer))


def _view(alert: BudgetAlert) -> AlertView:
    return AlertView(
        id=alert.id,
        state=AlertState.Name(alert.state).removeprefix("ALERT_STATE_").lower(),
        attempts=alert.attempts,
        error=alert.error or None,
        raised_at=rfc3339(alert.raised_at),
        body=json.loads(alert.body),
    )
