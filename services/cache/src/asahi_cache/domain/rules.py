"""What may be asked of the cache, and what may be kept in it."""

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import FinishReason
from asahi_core.errors import InvalidRequest

FINGERPRINT_BYTES = 32
SEVERAL = "*"
"""Stands for an organisation in what several share; none has this id."""
MAX_TTL_S = 30 * 24 * 3600.0
_COMPLETE = (FinishReason.FINISH_REASON_STOP, FinishReason.FINISH_REASON_TOOL_CALLS)


def check_organization(organization_id: str) -> None:
    """Raises InvalidRequest if none is named, or what stands for several."""
    if not organization_id:
        raise InvalidRequest("organization_id is missing: everything here belongs to one.", param="organization_id")
    if organization_id == SEVERAL:
        raise InvalidRequest(f"organization_id is {SEVERAL!r}, which names none.", param="organization_id")


def check_key(organization_id: str, fingerprint: bytes) -> None:
    """Raises InvalidRequest unless both can name an entry."""
    check_organization(organization_id)
    if len(fingerprint) != FINGERPRINT_BYTES:
        message = f"fingerprint has {len(fingerprint)} bytes; a SHA-256 has {FINGERPRINT_BYTES}."
        raise InvalidRequest(message, param="fingerprint")


def check_flight_key(flight_key: bytes) -> None:
    """Raises InvalidRequest unless it can name a flight."""
    if len(flight_key) != FINGERPRINT_BYTES:
        message = f"flight_key has {len(flight_key)} bytes; a SHA-256 has {FINGERPRINT_BYTES}."
        raise InvalidRequest(message, param="flight_key")


def check_max_age(max_age_s: float) -> None:
    """Raises InvalidRequest if no answer can be that young."""
    if max_age_s < 0:
        raise InvalidRequest(f"max_age is {max_age_s:g} seconds; it cannot be negative.", param="max_age")


def check_ttl(ttl_s: float) -> None:
    """Raises InvalidRequest unless an entry may be kept for that long."""
    if not 0 < ttl_s <= MAX_TTL_S:
        message = f"ttl is {ttl_s:g} seconds; it must be over 0 and at most {MAX_TTL_S:g} (30 days)."
        raise InvalidRequest(message, param="ttl")


def check_entry(entry: CacheEntry, max_bytes: int) -> None:
    """Raises InvalidRequest unless the entry is a complete answer of known age and at most `max_bytes`, serialized."""
    if entry.answer.WhichOneof("content") is None:
        raise InvalidRequest("entry.answer has no content to serve again.", param="entry.answer")
    if entry.answer.finish_reason not in _COMPLETE:
        message = f"An answer that ended with {_name(entry.answer.finish_reason)} is not complete and is never cached."
        raise InvalidRequest(message, param="entry.answer.finish_reason")
    if not entry.HasField("created_at"):
        raise InvalidRequest("entry.created_at is missing: the age of the answer.", param="entry.created_at")
    size = entry.ByteSize()
    if size > max_bytes:
        message = f"entry has {size} bytes; this cache keeps entries of at most {max_bytes} bytes."
        raise InvalidRequest(message, param="entry")


def _name(reason: FinishReason.ValueType) -> str:
    return FinishReason.Name(reason) if reason in FinishReason.values() else f"finish reason {reason}"
