"""Bodies of signing up and of `/governance/*`."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, Text, described, one_of

_SCOPES = ("infer", "analytics", "admin", "all")
ScopeName = Annotated[str, one_of("A scope.", *_SCOPES)]


class SignupBody(Struct, forbid_unknown_fields=True):
    """A new organization."""

    org_name: Annotated[Text, described("Name of the organization; a label, not unique.")]
    user_id: Annotated[Text, described("Who signs up.")]
    email: Annotated[Annotated[str, Meta(max_length=320)] | None, described("Where to reach them.")] = None
    invite_code: Annotated[Text | None, described("Invites are not served by this version (501).")] = None


class SignupAnswer(Struct):
    """A new organization with its first key."""

    org_id: Annotated[str, described("The organization's id.")]
    org_name: Annotated[str, described("As sent.")]
    api_key: Annotated[str, described("The key, shown this once: keep it.")]
    api_key_id: Annotated[str, described("Names the key, to revoke it for example.")]
    scopes: Annotated[list[ScopeName], described("What the key opens: `all`.")]


class ApiKeyBody(Struct, forbid_unknown_fields=True):
    """A new key."""

    name: Annotated[Text, described("A label.")]
    scopes: Annotated[
        list[Literal["infer", "analytics", "admin", "all"]],
        described("What the key opens; never more than its maker's.", min_length=1, max_length=4),
    ]
    user_id: Annotated[Text | None, described("Whom the key belongs to.")] = None
    expires_at: Annotated[Moment | None, described("When it ends, RFC 3339, in the future. Absent: never.")] = None
    allowed_models: Annotated[
        Annotated[list[Text], Meta(max_length=100)] | None,
        described("Patterns of model ids, such as `gpt-6-*`. Absent: as its maker's."),
    ] = None
    organization_id: Annotated[Text | None, described("The operator names it; a key's own is the default.")] = None
    rate_limits: Annotated[Any, described("Not served by this version (501).")] = None
    budgets: Annotated[Any, described("Not served by this version (501).")] = None


class ApiKeyView(Struct, kw_only=True):
    """An API key."""

    id: Annotated[str, described("Names the key.")]
    api_key: Annotated[str | UnsetType, described("The key itself; only there when it was just made.")] = UNSET
    name: Annotated[str, described("Its label.")]
    scopes: Annotated[list[ScopeName], described("What it opens.")]
    organization_id: Annotated[str, described("Whom it acts for.")]
    user_id: Annotated[str | None, described("Whom it belongs to; null: nobody in particular.")]
    allowed_models: Annotated[list[str] | None, described("Patterns of model ids; null: all models.")]
    created_at: Annotated[Moment, described("When it was made.")]
    expires_at: Annotated[Moment | None, described("When it ends; null: never.")]
    revoked_at: Annotated[Moment | None, described("When it was revoked; null: it was not.")]


class ApiKeyList(Struct):
    """A page of keys, newest first."""

    data: Annotated[list[ApiKeyView], described("The keys, revoked ones included.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]


class Usage(Struct, kw_only=True):
    """What an organization used in a calendar period."""

    organization_id: Annotated[str, described("Whose usage it is.")]
    period: Annotated[str, one_of("As asked.", "day", "month")]
    start: Annotated[Moment, described("Beginning of the day or month.")]
    end: Annotated[Moment, described("Now.")]
    requests: Annotated[Count, described("Requests answered.")]
    tokens_input: Annotated[Count, described("Tokens of questions, cached ones included.")]
    tokens_input_cached: Annotated[Count, described("Tokens of `tokens_input` read from providers' own caches.")]
    tokens_output: Annotated[Count, described("Tokens of answers.")]
    cost: Annotated[Dollars, described("Dollars spent.")]
    savings: Annotated[Dollars, described("Dollars saved; may be negative.")]
    budget_left: Annotated[Dollars | None, described("Dollars left of the tightest budget; null: there is none.")]


class UsageAnswer(Struct):
    """What an organization used."""

    data: Annotated[Usage, described("The usage.")]


class CacheInvalidationBody(Struct, forbid_unknown_fields=True):
    """What to drop from the cache: answers that match all that is given; nothing given: all."""

    request_id: Annotated[Text | None, described("Only the answer that this request brought.")] = None
    older_than: Annotated[Moment | None, described("Only answers given before this moment, RFC 3339.")] = None
    document_id: Annotated[Any, described("Not served by this version (501).")] = None
    tag: Annotated[Any, described("Not served by this version (501).")] = None
    organization_id: Annotated[Text | None, described("The operator names it; a key's own is the default.")] = None


class CacheInvalidationAnswer(Struct):
    """What was dropped."""

    organization_id: Annotated[str, described("Whose answers they were.")]
    dropped: Annotated[Count, described("How many answers there were.")]
