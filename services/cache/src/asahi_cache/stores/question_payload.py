"""Stored questions as points of Qdrant: their ids, what is kept with each, and what is searched by."""

import uuid
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from asahi_cache.domain.semantic.neighbours import StoredQuestion

TENANT = "organization"
KEYWORDS = ("scope", "labels")
TIMES = ("created_at", "expires_at")
COLLECTION = "asahi_questions_{model}_v1"
"""One collection an embedding model; the number rises with what is kept."""


def point_id(organization_id: str, fingerprint: bytes) -> uuid.UUID:
    """The same for the same request of the same organisation."""
    return uuid.UUID(bytes=sha256(organization_id.encode() + b"\0" + fingerprint).digest()[:16])


def microseconds(nanoseconds: int) -> int:
    """Rounded up; ranges are compared as floats, which hold microseconds exactly and nanoseconds do not."""
    return -(-nanoseconds // 1000)


def payload_of(question: StoredQuestion) -> dict[str, Any]:
    """What is kept beside the vector."""
    return {
        TENANT: question.organization_id,
        "scope": question.scope.hex(),
        "fingerprint": question.fingerprint.hex(),
        "text": question.text,
        "created_at": microseconds(question.created_at_ns),
        "expires_at": microseconds(question.expires_at_ns),
        "labels": [label.hex() for label in question.labels],
    }


def question_in(payload: Mapping[str, Any]) -> StoredQuestion:
    """The question that was kept.

    Raises:
        KeyError, TypeError, ValueError: it is none of ours.
    """
    return StoredQuestion(
        organization_id=payload[TENANT],
        scope=bytes.fromhex(payload["scope"]),
        fingerprint=bytes.fromhex(payload["fingerprint"]),
        text=payload["text"],
        created_at_ns=int(payload["created_at"]) * 1000,
        expires_at_ns=int(payload["expires_at"]) * 1000,
        labels=tuple(map(bytes.fromhex, payload["labels"])),
    )
