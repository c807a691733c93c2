"""Bodies of `/governance/organizations`."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.schemas.fields import Moment, Text, described


class OrganizationBody(Struct, forbid_unknown_fields=True):
    """A new organization."""

    name: Annotated[Text, described("Its name; a label, not unique.")]


class OrganizationView(Struct, kw_only=True):
    """An organization."""

    id: Annotated[str, described("Its id.")]
    name: Annotated[str | None, described("Its name; null: it was deleted.")]
    user_id: Annotated[str | None, described("Who signed up; null: the operator made it, or it was deleted.")]
    created_at: Annotated[Moment, described("When it was made.")]
    suspended_at: Annotated[Moment | None, described("Since when it is suspended; null: it is not.")]
    deleted_at: Annotated[Moment | None, described("When it was deleted; null: it was not.")]


class OrganizationList(Struct):
    """A page of organizations, newest first."""

    data: Annotated[list[OrganizationView], described("The organizations, suspended and deleted ones included.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]
