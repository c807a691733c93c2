"""Calendar days and months in a time zone, daylight saving time included."""

from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo


def start_of(period: Literal["day", "month"], now: datetime, timezone: str) -> datetime:
    """When the calendar day or month that `now` is in began at `timezone` (an IANA name), in UTC.

    Where clocks skip midnight, the day begins when they do; where midnight comes twice, with the first.
    """
    local = now.astimezone(ZoneInfo(timezone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (local if period == "day" else local.replace(day=1)).astimezone(UTC)
