"""Receipts for what was erased."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.schemas.fields import Count, Moment, described


class ErasedStore(Struct):
    """What was erased from one store."""

    store: Annotated[str, described("The store, `service.kind`, such as `auth.keys` or `cache.answers`.")]
    erased: Annotated[Count, described("Rows or entries that were erased; 0: there were none.")]


class KeptStore(Struct):
    """What is kept in one store."""

    store: Annotated[str, described("The store, `service.kind`, such as `auth.audit`.")]
    reason: Annotated[str, described("What is kept there, and why.")]


class ErasureReceipt(Struct, kw_only=True):
    """What was erased and what is kept, store by store."""

    act_id: Annotated[str, described("Names the act in the audit chain.")]
    organization_id: Annotated[str, described("Whose data it was.")]
    user_id: Annotated[str | None, described("The end user whose data it was; null: all of the organization's.")]
    completed_at: Annotated[Moment, described("When the last store had answered.")]
    erased: Annotated[list[ErasedStore], described("Every store that was emptied.")]
    kept: Annotated[list[KeptStore], described("Every store in which something is kept.")]
