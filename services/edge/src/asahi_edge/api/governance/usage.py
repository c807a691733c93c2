"""`GET /governance/usage`: a calendar day or month of an organisation."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from asahi.auth.v1 import auth_pb2
from asahi.billing.v1.billing_pb2 import BudgetState
from asahi.type.v1.policy_pb2 import Budget, Policy
from asahi_core.prices.book import prompt_tokens
from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.governance.budgets import budget_standing
from asahi_edge.api.governance.queries import OrganizationId
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.usage import Usage, UsageAnswer
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.budgets import LEARNING
from asahi_edge.domain.calendar_periods import start_of

router = APIRouter()
_FLUSH_S = 2.0
_JUST_NOW = timedelta(seconds=1)


@router.get(
    "/governance/usage",
    tags=["Governance"],
    **documented(summary="Usage of this day or month", answer=UsageAnswer, errors=(400, 401, 403, 404, 503)),
)
async def usage(
    request: Request,
    org_id: OrganizationId = None,
    period: Annotated[
        Literal["day", "month"], Query(description="The calendar day or month, in the policy's time zone.")
    ] = "month",
) -> Response:
    """What an organization used in the current calendar day or month, in its policy's time zone."""
    services = services_of(request)
    _, organization = await authorize_governance(request, org_id, param="org_id")
    found = await services.governance.get_policy(auth_pb2.GetPolicyRequest(organization_id=organization))
    policy = found.policy.policy
    timezone = policy.timezone or "UTC"
    await services.usage.flush(_FLUSH_S)
    now = services.clock.now()
    start = start_of(period, now, timezone)
    summary = await services.ledger.cost_summary(organization, start, now + _JUST_NOW)
    tokens = summary.usage
    known = await services.ledger.budgets(organization)
    states = [state for state in known if _is_told(state, policy)]
    answer = Usage(
        organization_id=organization,
        period=period,
        timezone=timezone,
        start=rfc3339(start),
        end=rfc3339(now),
        requests=summary.total_requests,
        tokens_input=prompt_tokens(tokens),
        tokens_input_cached=tokens.cache_read_tokens,
        tokens_output=tokens.output_tokens,
        cost=Dollars(summary.total_cost_nanos),
        savings=Dollars(summary.cost_original_nanos - summary.compared_cost_nanos),
        budget_left=_left(policy.budgets, states),
        budgets=[budget_standing(state) for state in states],
    )
    return json_response(UsageAnswer(data=answer))


def _is_told(state: BudgetState, policy: Policy) -> bool:
    """Whether it is of a budget that holds now: a key's, the policy's, or what learning may cost."""
    budget = state.budget
    return bool(state.api_key_id) or budget in policy.budgets or budget.per == LEARNING


def _left(budgets: Iterable[Budget], states: Sequence[BudgetState]) -> Dollars | None:
    """What is left of the tightest of the organisation's budgets; one that nobody spent anything of is whole."""
    left = [
        min(
            (state.left_nanos for state in states if not state.api_key_id and state.budget == budget),
            default=budget.limit_nanos,
        )
        for budget in budgets
    ]
    return Dollars(min(left)) if left else None
