"""What a provider counts, believed or not. A provider's `usage` decides over money, and may be anything.

What becomes of a figure: whole, not negative and at most ten million, it is taken, as an integer or as 12.0. Anything
else (text, a fraction, a truth value, a list, null) is as if it had not been said. Without a figure that adds to the
bill, the whole usage counts as not reported and the call is estimated; without a part of one, its tokens cost what the
rest of their bucket costs. A part is never larger than its whole.
"""

from typing import Any, TypeAlias

from asahi.type.v1.usage_pb2 import ServiceTier, UsageDetails

MAX_TOKENS = 10_000_000
"""No model's window is larger, and no call makes more searches."""

Junk: TypeAlias = list[Any] | str | int | float | bool | None
"""What stands in an answer where an object is meant."""

_TIERS: dict[str, ServiceTier.ValueType] = {
    "": ServiceTier.SERVICE_TIER_UNSPECIFIED,
    "auto": ServiceTier.SERVICE_TIER_UNSPECIFIED,
    "default": ServiceTier.SERVICE_TIER_UNSPECIFIED,
    "standard": ServiceTier.SERVICE_TIER_UNSPECIFIED,
    "on_demand": ServiceTier.SERVICE_TIER_UNSPECIFIED,
    "batch": ServiceTier.SERVICE_TIER_BATCH,
    "flex": ServiceTier.SERVICE_TIER_FLEX,
    "priority": ServiceTier.SERVICE_TIER_PRIORITY,
    "fast": ServiceTier.SERVICE_TIER_FAST,
}


def count(told: Any) -> int | None:
    """A count as told; None: absent, or not to be believed."""
    if type(told) is int and 0 <= told <= MAX_TOKENS:
        return told
    if type(told) is float and 0 <= told <= MAX_TOKENS and told.is_integer():
        return int(told)
    return None


def bucket(told: Any) -> int | None:
    """A count that adds to the bill; absent or null: 0. None: not to be believed."""
    return 0 if told is None else count(told)


def part(told: Any, whole: int) -> int:
    """A part of `whole`; 0 where it is absent or not to be believed, and never more than the whole."""
    return min(count(told) or 0, whole)


def service_tier(told: Any) -> ServiceTier.ValueType:
    """The tier that a provider says it served a call at; standard where it says nothing."""
    if told is None:
        return ServiceTier.SERVICE_TIER_UNSPECIFIED
    return _TIERS.get(told, ServiceTier.SERVICE_TIER_OTHER) if isinstance(told, str) else ServiceTier.SERVICE_TIER_OTHER


def details(
    *,
    input_audio: int = 0,
    input_image: int = 0,
    cache_read_audio: int = 0,
    cache_read_image: int = 0,
    output_audio: int = 0,
    output_image: int = 0,
    web_searches: int = 0,
    tier: ServiceTier.ValueType = ServiceTier.SERVICE_TIER_UNSPECIFIED,
) -> UsageDetails | None:
    """What the price depends on beside the buckets; None: nothing."""
    told = UsageDetails(
        input_audio_tokens=input_audio,
        input_image_tokens=input_image,
        cache_read_audio_tokens=cache_read_audio,
        cache_read_image_tokens=cache_read_image,
        output_audio_tokens=output_audio,
        output_image_tokens=output_image,
        web_searches=web_searches,
        service_tier=tier,
    )
    return told if told.ByteSize() else None
