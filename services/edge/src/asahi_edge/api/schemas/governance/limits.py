"""Rate limits as policies and keys have them, in bodies and answers."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.schemas.fields import described

PerMinute = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]


class UserRateLimits(Struct, forbid_unknown_fields=True):
    """Limits of each end user."""

    requests_per_minute: Annotated[
        PerMinute | UnsetType | None,
        described("Most requests in any 60 s, cache hits included. Absent or null: no such limit."),
    ] = UNSET
    tokens_per_minute: Annotated[
        PerMinute | UnsetType | None,
        described("Most tokens of prompts and answers at providers in any 60 s. Absent or null: no such limit."),
    ] = UNSET


class RateLimits(UserRateLimits, forbid_unknown_fields=True):
    """Limits of an organization or of a key, and of each of their end users."""

    per_user: Annotated[
        UserRateLimits | UnsetType | None, described("The same for each end user. Absent or null: no such limit.")
    ] = UNSET
