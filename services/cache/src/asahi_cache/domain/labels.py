"""What entries can be invalidated by beside their age: labels, each of one kind and name, within an organisation.

Stores see digests, never names: no store's index says who the end users are. To invalidate by something new, give it a
kind here; every tier keeps whatever labels an entry has.
"""

from hashlib import blake2b

from asahi.cache.v1.cache_pb2 import CacheEntry

LABEL_BYTES = 13
"""A letter for the kind and 96 bits of a BLAKE2b of the name."""
_REQUEST = b"r"
_USER = b"u"
_DOCUMENT = b"d"
_TAG = b"t"


def request_label(request_id: str) -> bytes:
    """Of the answer that this request brought."""
    return _label(_REQUEST, request_id)


def user_label(user_id: str) -> bytes:
    """Of all answers to this end user."""
    return _label(_USER, user_id)


def document_label(document_id: str) -> bytes:
    """Of all answers that were made from the document that callers name so."""
    return _label(_DOCUMENT, document_id)


def tag_label(tag: str) -> bytes:
    """Of all answers to requests with this tag, `NAME=VALUE`."""
    return _label(_TAG, tag)


def names_a_request(label: bytes) -> bool:
    """Whether one entry at most has this label."""
    return label.startswith(_REQUEST)


def labels_of(entry: CacheEntry) -> tuple[bytes, ...]:
    """The labels of an entry."""
    named = (
        (request_label, entry.request_id),
        (user_label, entry.user_id),
        (document_label, entry.document_id),
        *((tag_label, tag) for tag in entry.tags),
    )
    return tuple(label(name) for label, name in named if name)


def _label(kind: bytes, name: str) -> bytes:
    return kind + blake2b(name.encode(), digest_size=LABEL_BYTES - 1).digest()
