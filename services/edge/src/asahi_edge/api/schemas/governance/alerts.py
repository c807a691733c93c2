"""The body of `/governance/alerts`."""

from typing import Annotated, Any

from msgspec import Struct

from asahi_edge.api.schemas.fields import Count, Moment, described, one_of


class AlertView(Struct, kw_only=True):
    """An alert of a budget."""

    id: Annotated[str, described("Names budget, subject, window and threshold.")]
    state: Annotated[str, one_of("What became of it.", "pending", "delivered", "given_up")]
    attempts: Annotated[Count, described("How often it was tried.")]
    error: Annotated[str | None, described("What was wrong the last time.")]
    raised_at: Annotated[Moment, described("When it was raised.")]
    body: Annotated[dict[str, Any], described("What is posted.")]


class Alerts(Struct, kw_only=True):
    """Alerts of an organization's budgets."""

    organization_id: Annotated[str, described("Whose alerts.")]
    signing_secret: Annotated[str, described("What their posts are signed with; keep it to yourself.")]
    alerts: Annotated[list[AlertView], described("The newest first, at most 100.")]


class AlertsAnswer(Struct):
    """Alerts of an organization's budgets."""

    data: Annotated[Alerts, described("The alerts.")]
