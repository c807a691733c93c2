"""What the domain needs of the other services. Every method raises `AsahiError`s only."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from asahi.auth.v1 import auth_pb2
from asahi.auth.v1.auth_pb2 import Verdict
from asahi.billing.v1 import alerts_pb2, analytics_pb2, billing_pb2, prices_pb2, reconciliation_pb2
from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, UsageRecord
from asahi.cache.v1.cache_pb2 import (
    CacheEntry,
    FollowFlightResponse,
    GetConditionResponse,
    GetSemanticReportResponse,
    GetStatsResponse,
    LookupResponse,
    SemanticQuestion,
)
from asahi.router.v1.router_pb2 import (
    CompareRoutingResponse,
    Comparison,
    CompleteResponse,
    CountTokensResponse,
    Decision,
    ListModelsResponse,
    RecordOutcomeRequest,
    Task,
)
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi.type.v1.policy_pb2 import Policy
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.errors import AsahiError
from asahi_core.keys import KeyDigest


class Authenticator(Protocol):
    """The auth service."""

    async def authenticate(self, key: KeyDigest) -> Verdict:
        """Whose key it is and what it may do."""
        ...

    async def authenticate_person(self, token: str) -> Verdict:
        """Who a bearer token is of and what they may do."""
        ...


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


@dataclass(frozen=True, slots=True)
class Matching:
    """Which of an organisation's answers: those that match all that is given."""

    request_id: str = ""
    given_before: datetime | None = None
    user_id: str = ""
    document_id: str = ""
    tag: str = ""
    """As `NAME=VALUE`."""


EVERYTHING = Matching()


class AnswerCache(Protocol):
    """The cache service."""

    @property
    def attached(self) -> bool:
        """Whether the standing connection stands: its last heartbeat is less than a second old."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stores that the service does without at the moment: `redis`."""
        ...

    async def lookup(
        self,
        organization_id: str,
        fingerprint: bytes,
        max_age_s: float | None,
        flight_key: bytes,
        lost_flight_id: str = "",
        *,
        step: bool = False,
        semantic: SemanticQuestion | None = None,
    ) -> LookupResponse:
        """The answer kept under the fingerprint, over all tiers, or the flight that leads or is to be followed.

        `lost_flight_id`: one that was to be followed and could not be. `step`: it is asked for a step of a workflow.
        With `semantic` the answer to a similar question, too.
        """
        ...

    async def store(
        self,
        organization_id: str,
        fingerprint: bytes,
        entry: CacheEntry,
        ttl_s: float | None,
        flight_id: str,
        *,
        semantic: SemanticQuestion | None = None,
    ) -> float:
        """Keeps a complete answer and ends the flight that brought it; seconds that it will be served.

        With `semantic` similar questions find it, too.
        """
        ...

    def follow(
        self, organization_id: str, flight_id: str, address: str
    ) -> AbstractAsyncContextManager[AsyncIterator[FollowFlightResponse]]:
        """What happens in a flight that another edge leads, asked at the replica of this address; empty: at any."""
        ...

    def publish(self, flight_id: str, piece: AnswerDelta) -> None:
        """Hands a piece of a flight to those who follow it at other edges."""
        ...

    def end_flight(self, flight_id: str, end: CacheEntry | AsahiError | None, *, known: bool = False) -> None:
        """Says that a flight has ended, and how if anybody follows it; nothing where that is `known`."""
        ...

    async def invalidate(self, organization_id: str, matching: Matching = EVERYTHING) -> int:
        """Drops the entries that match; how many there were."""
        ...

    async def erase_replays(self, organization_id: str, user_id: str = "") -> int:
        """Drops kept answers to requests that are made once, of one end user if one is given; how many."""
        ...

    async def report_hit(self, organization_id: str, request_id: str, *, correct: bool) -> bool:
        """Takes a caller's word on an answer of tier 2; whether it counts."""
        ...

    async def semantic_report(self, organization_id: str, false_hit_bound: float) -> GetSemanticReportResponse:
        """What audits have measured of tier 2's wrong answers."""
        ...

    async def erase_evidence(self, organization_id: str) -> int:
        """Forgets what audits have measured; how many there were."""
        ...

    async def condition(self) -> Sequence[GetConditionResponse.Part]:
        """How the parts behind the service are that it can do without."""
        ...

    async def stats(self, organization_id: str) -> GetStatsResponse:
        """How much is kept."""
        ...


class Completion(Protocol):
    """A completion under way."""

    def events(self) -> AsyncGenerator[CompleteResponse, None]:
        """What happens, in order; to be closed before the completion is."""
        ...

    def confirm(self, attempt: int) -> None:
        """Lets an announced provider call begin, where each waits for that."""
        ...

    def cancel(self) -> None:
        """Gives it up: the provider call ends at once, its outcome still comes."""
        ...


class ModelRouter(Protocol):
    """The router service."""

    def complete(
        self, task: Task, *, explain: bool, stream: bool, confirm: bool
    ) -> AbstractAsyncContextManager[Completion]:
        """Opens a completion; `confirm`: each provider call waits for `Completion.confirm`."""
        ...

    async def decide(self, task: Task) -> Decision:
        """What a completion would decide, with every candidate; calls nobody."""
        ...


class AnswerComparer(Protocol):
    """The router service as one that learns from second answers."""

    def compare(self, task: Task, comparison: Comparison) -> AbstractAsyncContextManager[Completion]:
        """Asks for a second answer to compare with the one given; each provider call waits for `Completion.confirm`."""
        ...


class TokenCounter(Protocol):
    """The router service as one that counts."""

    async def count_tokens(self, task: Task) -> CountTokensResponse:
        """The tokens of a question; no answer is asked for."""
        ...


class Outcomes(Protocol):
    """What the router learns from."""

    async def record_outcome(self, outcome: RecordOutcomeRequest) -> None:
        """Keeps what is known about how good an answer was."""
        ...

    async def compare_routing(self, organization_id: str, policy: RoutingPolicy) -> CompareRoutingResponse:
        """What routing was worth beside simpler policies, by the organisation's own judged answers."""
        ...

    async def erase_outcomes(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        """Drops what is known about answers, to one end user or to all; how many outcomes and examples there were."""
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


class Catalog(Protocol):
    """The router service's catalog."""

    async def list_models(self) -> ListModelsResponse:
        """The models, with the provider that serves each here."""
        ...


class Probe(Protocol):
    """The health of the other services."""

    async def serving(self, service: str) -> bool:
        """Whether `service` answers, within a second, that it serves."""
        ...


class Caller(Protocol):
    """Who waits for an answer."""

    async def left(self) -> None:
        """Returns when the caller has hung up."""
        ...
