"""Audit entries, and how each is sealed into the chain of its organisation.

A record's HMAC covers all of it, its place and the HMAC of the record before. So a record proves by itself that it was
written here, at this place and after that record, and a fault is found where it is.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asahi_core.errors import InvalidRequest

INSTALLATION = ""
"""In place of an organisation: the installation's own chain."""
DONE = "done"
BEGUN = "begun"
GENESIS = bytes(32)
"""In place of an HMAC before the first record."""
MAX_DETAILS_BYTES = 64 * 1024
_DIGEST = "sha256"
_PSEUDONYM_LENGTH = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What is to be written: who did what when."""

    organization_id: str
    """Whose chain; `INSTALLATION`: the installation's own."""
    occurred_at: datetime
    actor: str
    """As `organizations.name_of`, `signup`, or `asahi`."""
    action: str
    """For example `api_key.create`."""
    target: str = ""
    """Id of what it was done to, never of an end user; empty: the end user, or else the organisation."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What changed, as JSON; neither secrets nor end users."""
    outcome: str = DONE
    address: str = ""
    """Address that the call came from; empty: unknown."""
    request_id: str = ""
    user_id: str = field(default="", repr=False)
    """The end user whom it is about; kept as a pseudonym. Empty: none."""
    ends: int = 0
    """Sequence of the entry of the act that this one ends; 0: none."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry as it is kept."""

    organization_id: str
    sequence: int
    """Its place in the chain, from 1, without gaps."""
    occurred_at: datetime
    actor: str
    action: str
    target: str
    details: str
    """JSON, kept as text: what is sealed comes back to the byte."""
    outcome: str
    address: str
    request_id: str
    ends: int
    previous: bytes
    """HMAC of the record before; `GENESIS`: there is none."""
    hmac: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends."""

    organization_id: str
    sequence: int = 0
    """Of its last record; 0: it has none."""
    hmac: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The keys of all chains, each derived from one secret for one purpose and organisation."""

    secret: bytes = field(repr=False)

    def chain(self, organization_id: str) -> bytes:
        """Seals the records of a chain."""
        return self._derived("chain", organization_id)

    def checkpoints(self) -> bytes:
        """Signs checkpoints."""
        return self._derived("checkpoints", "")

    def user_digest(self, organization_id: str, user_id: str) -> bytes:
        """Finds the salt of an end user; tells nothing about the user without the secret."""
        return hmac.digest(self._derived("users", organization_id), user_id.encode(), _DIGEST)

    def pseudonym(self, organization_id: str, user_id: str, salt: bytes) -> str:
        """The end user's name in the chain. Without the salt nobody can tell whose it is, nor with the secret."""
        key = self._derived("pseudonyms", organization_id)
        digest = hmac.digest(key, salt + user_id.encode(), _DIGEST)
        return f"user_{digest.hex()[:_PSEUDONYM_LENGTH]}"

    def _derived(self, purpose: str, organization_id: str) -> bytes:
        return hmac.digest(self.secret, f"asahi audit 1 {purpose}\0{organization_id}".encode(), _DIGEST)


def sealed(entry: AuditEntry, head: Head, key: bytes, pseudonym: str = "") -> AuditRecord:
    """The record of `entry` after `head`; `pseudonym` stands for the entry's end user.

    Raises:
        InvalidRequest: the details are no JSON, or too long.
    """
    details = dict(entry.details)
    if pseudonym and entry.target:
        details["user"] = pseudonym
    record = AuditRecord(
        organization_id=entry.organization_id,
        sequence=head.sequence + 1,
        occurred_at=entry.occurred_at,
        actor=entry.actor,
        action=entry.action,
        target=entry.target or pseudonym or entry.organization_id,
        details=_json_of(details),
        outcome=entry.outcome,
        address=entry.address,
        request_id=entry.request_id,
        ends=entry.ends,
        previous=head.hmac,
        hmac=b"",
    )
    return replace(record, hmac=_hmac_of(record, key, record.sequence))


def is_sealed(record: AuditRecord, key: bytes, sequence: int | None = None) -> bool:
    """Whether the record was sealed with `key` at `sequence` (None: where it stands), as it is."""
    return hmac.compare_digest(_hmac_of(record, key, record.sequence if sequence is None else sequence), record.hmac)


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970, as moments are sealed."""
    return (moment - _EPOCH) // _MICROSECOND


def _hmac_of(record: AuditRecord, key: bytes, sequence: int) -> bytes:
    """HMAC-SHA-256 over a JSON array, in which no two records read alike."""
    values = (
        record.organization_id,
        sequence,
        micros_of(record.occurred_at),
        record.actor,
        record.action,
        record.target,
        record.details,
        record.outcome,
        record.address,
        record.request_id,
        record.ends,
        record.previous.hex(),
    )
    return hmac.digest(key, json.dumps(values, separators=(",", ":")).encode(), _DIGEST)


def _json_of(details: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(details, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"details cannot be kept as JSON: {error}.", param="details") from error
    size = len(text.encode())
    if size > MAX_DETAILS_BYTES:
        message = f"details takes {size} bytes as JSON; at most {MAX_DETAILS_BYTES} are accepted."
        raise InvalidRequest(message, param="details")
    return text
