"""Kinds of fields that bodies of all subjects share."""

from typing import Annotated, Any

from msgspec import Meta


def described(description: str, **limits: Any) -> Meta:
    """What a field is, with its unit, and what it may hold."""
    return Meta(description=description, **limits)


def one_of(description: str, *values: str | int | None) -> Meta:
    """A field of an answer that holds one of `values`."""
    return Meta(description=description, extra_json_schema={"enum": list(values)})


Text = Annotated[str, Meta(min_length=1, max_length=200)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, in UTC where we write it."""
