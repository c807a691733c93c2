"""Bodies of `/governance/invites`."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.schemas.fields import Moment, described


class InviteBody(Struct, forbid_unknown_fields=True):
    """A new invite."""

    note: Annotated[Annotated[str, Meta(max_length=200)] | None, described("A label, for example whom it is for.")] = (
        None
    )
    expires_at: Annotated[Moment | None, described("When it ends, RFC 3339, in the future. Absent: in seven days.")] = (
        None
    )


class InviteView(Struct, kw_only=True):
    """An invite: it lets one organization sign up."""

    id: Annotated[str, described("Names the invite.")]
    code: Annotated[str | UnsetType, described("What is sent as `invite_code`; only there when it was just made.")] = (
        UNSET
    )
    note: Annotated[str | None, described("Its label; null: none.")]
    created_at: Annotated[Moment, described("When it was made.")]
    expires_at: Annotated[Moment, described("When it ends.")]
    used_at: Annotated[Moment | None, described("When it was used; null: it was not.")]
    organization_id: Annotated[str | None, described("The organization that used it; null: none did.")]


class InviteList(Struct):
    """A page of invites, newest first."""

    data: Annotated[list[InviteView], described("The invites, used and expired ones included.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]
