"""Times and periods as callers write them."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from asahi_core.errors import InvalidRequest

_PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}


def rfc3339(timestamp: Timestamp | datetime) -> str:
    """A time as RFC 3339 in UTC, to the microsecond."""
    moment = timestamp.ToDatetime(UTC) if isinstance(timestamp, Timestamp) else timestamp.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def parse_time(text: str, param: str) -> datetime:
    """The moment in an RFC 3339 text with a zone; raises InvalidRequest."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{param}: {text[:60]!r} is not a time; write it as 2026-11-24T12:00:00Z.", param=param
        ) from error
    if moment.tzinfo is None:
        raise InvalidRequest(f"{param}: {text[:60]!r} has no time zone; write it as 2026-11-24T12:00:00Z.", param=param)
    return moment.astimezone(UTC)


def period_of(period: str | None, start: str | None, end: str | None, now: datetime) -> tuple[str, datetime, datetime]:
    """Name, start and end of the period asked for: a name that ends now, or `from` and `to`; none: 24h."""
    if start is not None or end is not None:
        if period is not None:
            raise InvalidRequest("Send either 'period' or 'from' and 'to', not both.", param="period")
        if start is None:
            raise InvalidRequest("'to' needs 'from' beside it.", param="from")
        begin, finish = parse_time(start, "from"), parse_time(end, "to") if end is not None else now
        if begin >= finish:
            raise InvalidRequest("'from' must be earlier than 'to'.", param="from")
        return "custom", begin, finish
    name = period or "24h"
    if name not in _PERIODS:
        raise InvalidRequest(f"period: {name[:40]!r} is none of {', '.join(_PERIODS)}.", param="period")
    return name, now - _PERIODS[name], now
