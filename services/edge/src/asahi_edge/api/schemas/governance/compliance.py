"""The body of `/governance/compliance/report`."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.schemas.fields import Count, Moment, described
from asahi_edge.api.schemas.governance.api_keys import ApiKeyView
from asahi_edge.api.schemas.governance.audit import AuditCheck
from asahi_edge.api.schemas.governance.policies import PolicyView


class KeyCounts(Struct, kw_only=True):
    """How many keys there are."""

    total: Annotated[Count, described("All that were ever made.")]
    active: Annotated[Count, described("Neither revoked nor expired.")]
    revoked: Annotated[Count, described("Revoked.")]
    expired: Annotated[Count, described("Expired, and not revoked before.")]
    active_without_expiry: Annotated[Count, described("Active ones that never expire.")]
    active_with_admin: Annotated[Count, described("Active ones that open `/governance/*`.")]
    active_never_used: Annotated[Count, described("Active ones that were never used.")]


class KeptData(Struct):
    """How long one kind of data is kept."""

    data: Annotated[str, described("The kind of data.")]
    days: Annotated[Count | None, described("Days that it is kept; 0: it is never kept; null: without a limit.")]
    note: Annotated[str, described("What decides it.")]


class ComplianceReport(Struct, kw_only=True):
    """Keys, policy, retention and the check of the audit chain in one document."""

    organization_id: Annotated[str, described("Whose report it is.")]
    generated_at: Annotated[Moment, described("When it was made.")]
    key_counts: Annotated[KeyCounts, described("How many keys there are, by state.")]
    api_keys: Annotated[list[ApiKeyView], described("Every key, newest first; secrets are never shown.")]
    policy: Annotated[PolicyView, described("The policy in its present version.")]
    retention: Annotated[list[KeptData], described("How long what is kept.")]
    audit: Annotated[AuditCheck, described("The check of the audit chain.")]


class ComplianceAnswer(Struct):
    """A compliance report."""

    data: Annotated[ComplianceReport, described("The report.")]
