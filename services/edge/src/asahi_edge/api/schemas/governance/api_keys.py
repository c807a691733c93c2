"""Bodies of `/governance/api-keys`."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.schemas.fields import Moment, Text, described, one_of
from asahi_edge.api.schemas.governance.budgets import BudgetBody, BudgetView
from asahi_edge.api.schemas.governance.limits import RateLimits

ScopeName = Annotated[str, one_of("A scope.", "infer", "analytics", "admin", "all")]


class ApiKeyBody(Struct, forbid_unknown_fields=True):
    """A new key."""

    name: Annotated[Text, described("A label.")]
    scopes: Annotated[
        list[Literal["infer", "analytics", "admin", "all"]],
        described("What the key opens; never more than its maker's.", min_length=1, max_length=4),
    ]
    user_id: Annotated[Text | None, described("Whom the key belongs to.")] = None
    expires_at: Annotated[
        Moment | None, described("When it ends, RFC 3339, in the future. Absent: when its maker's does.")
    ] = None
    allowed_models: Annotated[
        Annotated[list[Text], Meta(max_length=100)] | None,
        described("Patterns of model ids, such as `gpt-6-*`. Absent: as its maker's."),
    ] = None
    rate_limits: Annotated[
        RateLimits | None, described("Its own limits, none above its maker's. Absent: as its maker's.")
    ] = None
    organization_id: Annotated[Text | None, described("The operator names it; a key's own is the default.")] = None
    budgets: Annotated[
        Annotated[list[BudgetBody], Meta(max_length=100)] | None,
        described("Its own budgets, which count what it spends, beside its maker's. Absent: as its maker's."),
    ] = None


class RotationBody(Struct, forbid_unknown_fields=True):
    """How a key is rotated."""

    overlap_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=2_592_000)] | None,
        described("Seconds that the old key goes on, at most 30 days; 0: it ends at once. Absent: 86400, a day."),
    ] = None


class ApiKeyView(Struct, kw_only=True):
    """An API key."""

    id: Annotated[str, described("Names the key.")]
    api_key: Annotated[str | UnsetType, described("The key itself; only there when it was just made.")] = UNSET
    name: Annotated[str, described("Its label.")]
    scopes: Annotated[list[ScopeName], described("What it opens.")]
    organization_id: Annotated[str, described("Whom it acts for.")]
    user_id: Annotated[str | None, described("Whom it belongs to; null: nobody in particular.")]
    allowed_models: Annotated[list[str] | None, described("Patterns of model ids; null: all models.")]
    rate_limits: Annotated[RateLimits | None, described("Its own limits; null: none.")]
    budgets: Annotated[list[BudgetView] | None, described("Its own budgets; null: none.")]
    created_at: Annotated[Moment, described("When it was made.")]
    expires_at: Annotated[Moment | None, described("When it ends; null: never.")]
    revoked_at: Annotated[Moment | None, described("When it was revoked; null: it was not.")]
    last_used_at: Annotated[Moment | None, described("When it was used last, to within a minute; null: never.")]
    rotated_from: Annotated[str | None, described("Id of the key that it replaced; null: none.")]
    rotated_to: Annotated[str | None, described("Id of the key that replaced it; null: none did.")]


class RotatedKey(ApiKeyView, kw_only=True):
    """A key that replaces another."""

    replaced: Annotated[ApiKeyView, described("The old key, with the time at which it ends.")]


class ApiKeyList(Struct):
    """A page of keys, newest first."""

    data: Annotated[list[ApiKeyView], described("The keys, revoked ones included.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]
