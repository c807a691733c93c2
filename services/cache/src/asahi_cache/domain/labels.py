"""What entries can be invalidated by beside their age: labels, `kind:name`, each of its organisation.

To invalidate by something new, give it a kind here: every tier keeps whatever labels an entry has.
"""

from asahi.cache.v1.cache_pb2 import CacheEntry


def request_label(request_id: str) -> str:
    """Of the answer that this request brought."""
    return f"request:{request_id}"


def user_label(user_id: str) -> str:
    """Of all answers to this end user."""
    return f"user:{user_id}"


def labels_of(entry: CacheEntry) -> tuple[str, ...]:
    """The labels of an entry."""
    labels = (request_label(entry.request_id),) if entry.request_id else ()
    return (*labels, user_label(entry.user_id)) if entry.user_id else labels
