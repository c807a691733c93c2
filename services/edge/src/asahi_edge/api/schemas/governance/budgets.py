"""Budgets as policies and keys have them, and how they stand."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Moment, Text, described, one_of

AlertShare = Annotated[float, Meta(gt=0, le=1)]
_PER = "What it is of, each with a limit of its own: `organization`, `key`, `user`, or a value of a tag: `tag:NAME`."


class BudgetBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A limit on what is spent in a calendar window."""

    per: Annotated[
        str, Meta(pattern="^(organization|key|user|tag:[A-Za-z0-9_.-]{1,64})$"), described(_PER, max_length=68)
    ]
    window: Annotated[
        Literal["hour", "day", "week", "month"],
        described("The calendar window that it begins anew with; weeks begin on Monday."),
    ]
    limit_usd: Annotated[float, described("Most dollars in a window.", gt=0, le=1_000_000_000)]
    action: Annotated[
        Literal["alert", "block"],
        described("`block`: calls that could go beyond it are refused (429); `alert`: it is only counted."),
    ]
    alert_at: Annotated[
        Annotated[list[AlertShare], Meta(min_length=1, max_length=10)] | None,
        described("Shares of the limit worth an alert, ascending. Default 0.5, 0.8 and 1."),
    ] = None
    timezone: Annotated[Text | None, described("IANA name of its windows' time zone. Default: the policy's.")] = None


class BudgetView(Struct, kw_only=True):
    """A budget."""

    per: Annotated[str, described(_PER)]
    window: Annotated[str, one_of("Its calendar window.", "hour", "day", "week", "month")]
    limit_usd: Annotated[Dollars, described("Most dollars in a window.")]
    action: Annotated[str, one_of("What happens at the limit.", "alert", "block")]
    alert_at: Annotated[list[float], described("Shares of the limit worth an alert.")]
    timezone: Annotated[str | None, described("IANA name of its windows' time zone; null: the policy's.")]


class BudgetStanding(BudgetView, kw_only=True):
    """How a budget stands in its present window."""

    api_key_id: Annotated[str | None, described("The key whose own budget it is; null: the organization's.")]
    subject: Annotated[str, described("The organization, key, user or value of the tag whose figures these are.")]
    window_end: Annotated[Moment, described("When it begins anew.")]
    spent: Annotated[Dollars, described("Dollars spent in the window.")]
    reserved: Annotated[Dollars, described("Dollars held by calls under way; of budgets that block.")]
    left: Annotated[Dollars, described("Dollars left; below 0: overdrawn.")]
