"""Query parameters that the paths of `/governance/*` share."""

from typing import Annotated

from fastapi import Query
from google.protobuf.timestamp_pb2 import Timestamp

from asahi_edge.api.times import rfc3339

OrganizationId = Annotated[str | None, Query(description="The operator names it; a key's own is the default.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries in the answer.")]
Cursor = Annotated[str, Query(max_length=1000, description="`next_cursor` of the answer before.")]


def moment(timestamp: Timestamp, *, given: bool) -> str | None:
    """A time as RFC 3339; None unless it is `given`."""
    return rfc3339(timestamp) if given else None
