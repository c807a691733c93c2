"""`GET /governance/compliance/report`: keys, policy, retention and audit in one document."""

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter, Request, Response

from asahi.auth.v1 import auth_pb2
from asahi.auth.v1.auth_pb2 import ApiKey, Scope
from asahi.type.v1.policy_pb2 import Policy
from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.governance.api_keys import api_key_view
from asahi_edge.api.governance.audit import audit_check
from asahi_edge.api.governance.policy_view import policy_view
from asahi_edge.api.governance.queries import OrganizationId
from asahi_edge.api.json import json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.compliance import ComplianceAnswer, ComplianceReport, KeptData, KeyCounts
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.governance_ports import Governance

router = APIRouter()
_PAGE = 1000


@router.get(
    "/governance/compliance/report",
    tags=["Governance"],
    **documented(
        summary="Keys, policy, retention and audit in one document",
        answer=ComplianceAnswer,
        errors=(400, 401, 403, 404, 503),
    ),
)
async def compliance_report(request: Request, organization_id: OrganizationId = None) -> Response:
    """Every key, the policy, how long what is kept, and the audit chain recomputed."""
    services = services_of(request)
    _, organization = await authorize_governance(request, organization_id)
    governance = services.governance
    policy = (await governance.get_policy(auth_pb2.GetPolicyRequest(organization_id=organization))).policy
    keys = await _all_keys(governance, organization)
    verified = await governance.verify_audit(auth_pb2.VerifyAuditRequest(organization_id=organization))
    now = services.clock.now()
    report = ComplianceReport(
        organization_id=organization,
        generated_at=rfc3339(now),
        key_counts=_counts(keys, now),
        api_keys=[api_key_view(key) for key in keys],
        policy=policy_view(organization, policy),
        retention=_retention(policy.policy),
        audit=audit_check(verified),
    )
    return json_response(ComplianceAnswer(data=report))


async def _all_keys(governance: Governance, organization_id: str) -> list[ApiKey]:
    keys: list[ApiKey] = []
    cursor = ""
    while True:
        wanted = auth_pb2.ListApiKeysRequest(organization_id=organization_id, page_size=_PAGE, page_token=cursor)
        page = await governance.list_api_keys(wanted)
        keys += page.api_keys
        cursor = page.next_page_token
        if not cursor:
            return keys


def _counts(keys: Sequence[ApiKey], now: datetime) -> KeyCounts:
    now_ns = int(now.timestamp() * 1e9)
    revoked = [key for key in keys if key.HasField("revoked_at")]
    unrevoked = [key for key in keys if not key.HasField("revoked_at")]
    active = [key for key in unrevoked if not key.HasField("expires_at") or key.expires_at.ToNanoseconds() > now_ns]
    return KeyCounts(
        total=len(keys),
        active=len(active),
        revoked=len(revoked),
        expired=len(unrevoked) - len(active),
        active_without_expiry=sum(not key.HasField("expires_at") for key in active),
        active_with_admin=sum(bool({Scope.SCOPE_ADMIN, Scope.SCOPE_ALL}.intersection(key.scopes)) for key in active),
        active_never_used=sum(not key.HasField("last_used_at") for key in active),
    )


def _retention(policy: Policy) -> list[KeptData]:
    kept = policy.retention
    return [
        KeptData(
            "prompts and answers in logs and analytics",
            0,
            "never written there, whatever the policy's retention.prompts_days allows",
        ),
        KeptData("usage records", kept.usage_days, "policy: retention.usage_days"),
        KeptData("stored responses", kept.responses_days, "policy: retention.responses_days"),
        KeptData("cached answers", -(-policy.cache.ttl_seconds // 86_400), "policy: cache.ttl_seconds, in whole days"),
        KeptData("audit chain", None, "append-only; end users under pseudonyms whose keys can be erased"),
    ]
