"""Receipts for what was erased, as callers see them."""

from datetime import datetime

from asahi_edge.api.schemas.governance.receipts import ErasedStore, ErasureReceipt, KeptStore
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.erasure import Erasure


def receipt_of(erasure: Erasure, now: datetime) -> ErasureReceipt:
    """The receipt of an erasure that is complete."""
    return ErasureReceipt(
        act_id=erasure.act_id,
        organization_id=erasure.organization_id,
        user_id=erasure.user_id or None,
        completed_at=rfc3339(now),
        erased=[ErasedStore(store, count) for store, count in sorted(erasure.erased.items())],
        kept=[KeptStore(store, reason) for store, reason in sorted(erasure.kept.items())],
    )
