"""What governance and analytics need of auth and billing. Every method raises `AsahiError`s only."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from asahi.auth.v1 import auth_pb2
from asahi.billing.v1 import alerts_pb2, analytics_pb2, billing_pb2, prices_pb2, reconciliation_pb2
from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, UsageRecord
from asahi.type.v1.policy_pb2 import Policy


class Governance(Protocol):
    """The auth service's organisations, keys, policies and audit chains."""

    async def signup(self, request: auth_pb2.SignupRequest) -> auth_pb2.SignupResponse:
        """A new organisation with its first key."""
        ...

    async def create_api_key(self, request: auth_pb2.CreateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """A new key."""
        ...

    async def list_api_keys(self, request: auth_pb2.ListApiKeysRequest) -> auth_pb2.ListApiKeysResponse:
        """A page of an organisation's keys."""
        ...

    async def revoke_api_key(self, request: auth_pb2.RevokeApiKeyRequest) -> auth_pb2.RevokeApiKeyResponse:
        """The revoked key."""
        ...

    async def rotate_api_key(self, request: auth_pb2.RotateApiKeyRequest) -> auth_pb2.RotateApiKeyResponse:
        """A key that replaces another, which goes on for an overlap."""
        ...

    async def create_organization(
        self, request: auth_pb2.CreateOrganizationRequest
    ) -> auth_pb2.CreateOrganizationResponse:
        """A new organisation without keys."""
        ...

    async def list_organizations(
        self, request: auth_pb2.ListOrganizationsRequest
    ) -> auth_pb2.ListOrganizationsResponse:
        """A page of organisations."""
        ...

    async def set_organization_suspended(
        self, request: auth_pb2.SetOrganizationSuspendedRequest
    ) -> auth_pb2.SetOrganizationSuspendedResponse:
        """The organisation, suspended or not any longer."""
        ...

    async def delete_organization(
        self, request: auth_pb2.DeleteOrganizationRequest
    ) -> auth_pb2.DeleteOrganizationResponse:
        """What was deleted of an organisation."""
        ...

    async def create_invite(self, request: auth_pb2.CreateInviteRequest) -> auth_pb2.CreateInviteResponse:
        """A new invite."""
        ...

    async def list_invites(self, request: auth_pb2.ListInvitesRequest) -> auth_pb2.ListInvitesResponse:
        """A page of invites."""
        ...

    async def delete_invite(self, request: auth_pb2.DeleteInviteRequest) -> auth_pb2.DeleteInviteResponse:
        """The invite that is withdrawn."""
        ...

    async def get_policy(self, request: auth_pb2.GetPolicyRequest) -> auth_pb2.GetPolicyResponse:
        """A policy in its present version."""
        ...

    async def update_policy(self, request: auth_pb2.UpdatePolicyRequest) -> auth_pb2.UpdatePolicyResponse:
        """The changed policy; raises VersionConflict."""
        ...

    async def list_policy_versions(
        self, request: auth_pb2.ListPolicyVersionsRequest
    ) -> auth_pb2.ListPolicyVersionsResponse:
        """A page of a policy's versions."""
        ...

    async def begin_act(self, request: auth_pb2.BeginActRequest) -> auth_pb2.BeginActResponse:
        """Writes to the audit chain that an act on other services begins."""
        ...

    async def end_act(self, request: auth_pb2.EndActRequest) -> auth_pb2.EndActResponse:
        """Writes to the audit chain how an act ended."""
        ...

    async def list_audit(self, request: auth_pb2.ListAuditRequest) -> auth_pb2.ListAuditResponse:
        """A page of an audit chain."""
        ...

    async def verify_audit(self, request: auth_pb2.VerifyAuditRequest) -> auth_pb2.VerifyAuditResponse:
        """What a recomputation of an audit chain found."""
        ...

    async def erase_user(self, request: auth_pb2.EraseUserRequest) -> auth_pb2.EraseUserResponse:
        """What was erased of an end user."""
        ...


class Ledger(Protocol):
    """The billing service."""

    async def erase_identities(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        """Takes out who asked, of one end user or of all; how many records and alerts named somebody."""
        ...

    async def budgets(self, organization_id: str) -> Sequence[billing_pb2.BudgetState]:
        """How an organisation's budgets stand in their present windows, as far as anything was spent or is held."""
        ...

    async def cost_summary(self, organization_id: str, start: datetime, end: datetime) -> GetCostSummaryResponse:
        """Sums of an organisation over [start, end)."""
        ...

    async def inferences(
        self, organization_id: str, page_size: int, page_token: str
    ) -> billing_pb2.ListInferencesResponse:
        """A page of an organisation's requests, newest first."""
        ...

    async def inference(self, organization_id: str, request_id: str) -> billing_pb2.Inference:
        """One request; raises NotFound, in the same words for an unknown and a foreign one."""
        ...


class Analytics(Protocol):
    """What the billing service's ledger adds up to, over [start, end)."""

    async def breakdown(
        self, organization_id: str, start: datetime, end: datetime, group_by: str, limit: int
    ) -> analytics_pb2.GetBreakdownResponse:
        """Figures by a dimension."""
        ...

    async def trends(
        self, organization_id: str, start: datetime, end: datetime, interval_hours: int
    ) -> analytics_pb2.GetTrendsResponse:
        """Figures by interval."""
        ...

    async def latency_percentiles(
        self, organization_id: str, start: datetime, end: datetime
    ) -> analytics_pb2.GetLatencyPercentilesResponse:
        """Percentiles by model and tier."""
        ...

    async def forecast(self, organization_id: str, horizon: timedelta) -> analytics_pb2.GetForecastResponse:
        """Expected spend."""
        ...

    async def anomalies(
        self, organization_id: str, start: datetime, end: datetime
    ) -> analytics_pb2.ListAnomaliesResponse:
        """What is unusual."""
        ...

    async def recommendations(
        self,
        organization_id: str,
        start: datetime,
        end: datetime,
        policy: Policy | None,
        models: Sequence[analytics_pb2.ModelQuality],
    ) -> analytics_pb2.ListRecommendationsResponse:
        """Changes worth money."""
        ...

    def export(
        self, organization_id: str, start: datetime, end: datetime
    ) -> AsyncGenerator[Sequence[UsageRecord], None]:
        """Every usage record, oldest first, some at a time; to be closed."""
        ...


class Reconciliations(Protocol):
    """The billing service's comparisons of the ledger with providers' bills."""

    async def import_report(
        self, head: reconciliation_pb2.ReportHead, pieces: AsyncIterator[bytes]
    ) -> reconciliation_pb2.ImportReportResponse:
        """Hands a cost report on as it comes in."""
        ...

    async def reconciliation(
        self, organization_id: str, start: datetime, end: datetime
    ) -> reconciliation_pb2.Reconciliation:
        """The ledger beside the imported reports, over the days of [start, end)."""
        ...


class PriceSheets(Protocol):
    """The billing service's prices of organisations."""

    async def get(self, organization_id: str) -> prices_pb2.PriceSheet:
        """An organisation's own prices."""
        ...

    async def set(self, request: prices_pb2.SetPriceSheetRequest) -> prices_pb2.PriceSheet:
        """Sets an organisation's own prices; raises VersionConflict."""
        ...

    async def reprice(self, request: prices_pb2.RepriceRequest) -> prices_pb2.RepriceResponse:
        """Books counter-entries for calls of a time."""
        ...


class BudgetAlerts(Protocol):
    """The billing service's alerts of budgets."""

    async def alerts(self, organization_id: str) -> alerts_pb2.GetAlertsResponse:
        """What an organisation's alerts are signed with, and its newest ones."""
        ...
