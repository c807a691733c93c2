"""Bodies of signing up."""

from typing import Annotated

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import Text, described
from asahi_edge.api.schemas.governance.api_keys import ScopeName


class SignupBody(Struct, forbid_unknown_fields=True):
    """A new organization."""

    org_name: Annotated[Text, described("Name of the organization; a label, not unique.")]
    user_id: Annotated[Text, described("Who signs up.")]
    email: Annotated[Annotated[str, Meta(max_length=320)] | None, described("Where to reach them.")] = None
    invite_code: Annotated[Text | None, described("The operator's invite; needed where signing up asks for one.")] = (
        None
    )


class SignupAnswer(Struct):
    """A new organization with its first key."""

    org_id: Annotated[str, described("The organization's id.")]
    org_name: Annotated[str, described("As sent.")]
    api_key: Annotated[str, described("The key, shown this once: keep it.")]
    api_key_id: Annotated[str, described("Names the key, to revoke it for example.")]
    scopes: Annotated[list[ScopeName], described("What the key opens: `all`.")]
