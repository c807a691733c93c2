"""Bodies of `/governance/cache`."""

from typing import Annotated

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import Count, Moment, Text, described


class CacheInvalidationBody(Struct, forbid_unknown_fields=True):
    """What to drop from the cache: answers that match all that is given; nothing given: all."""

    request_id: Annotated[Text | None, described("Only the answer that this request brought.")] = None
    older_than: Annotated[Moment | None, described("Only answers given before this moment, RFC 3339.")] = None
    document_id: Annotated[
        Text | None,
        described("Only answers made from the document that requests called so, results of steps included."),
    ] = None
    tag: Annotated[
        Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}=[^,=]{1,128}$")] | None,
        described("Only answers to requests that bore this tag, `NAME=VALUE`, in `x-asahi-tags`."),
    ] = None
    organization_id: Annotated[Text | None, described("The operator names it; a key's own is the default.")] = None


class CacheInvalidationAnswer(Struct):
    """What was dropped."""

    organization_id: Annotated[str, described("Whose answers they were.")]
    dropped: Annotated[Count, described("How many answers there were.")]
