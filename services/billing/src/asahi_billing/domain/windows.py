"""Calendar windows of budgets: hours, days, weeks and months of a time zone, gapless across changes of the clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from asahi.type.v1.policy_pb2 import BudgetWindow
from asahi_billing.domain.store import Span

_SECOND_NS = 1_000_000_000
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class _Days:
    """From one local midnight to a later one."""

    first: date
    next: date


class Calendar:
    """Tells which window a time is in. Remembers the window last asked for of each kind and zone."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, str], Span] = {}

    def window(self, kind: int, timezone: str, at_ns: int) -> Span:
        """The window of `kind` (a `BudgetWindow`) that holds the instant `at_ns` (ns since 1970).

        Windows of a kind follow each other without gap or overlap. Days last 23 to 25 hours where clocks change; hours
        are always 3600 s, full ones by the zone's standard time.

        Raises:
            ValueError: no window of such a kind, no such time zone, or a time beyond the calendar.
        """
        latest = self._latest.get((kind, timezone))
        if latest is not None and latest.start_ns <= at_ns < latest.end_ns:
            return latest
        window = window_at(kind, timezone, at_ns)
        self._latest[kind, timezone] = window
        return window


def window_at(kind: int, timezone: str, at_ns: int) -> Span:
    """As `Calendar.window`, worked out."""
    zone = time_zone(timezone)
    try:
        local = datetime.fromtimestamp(at_ns // _SECOND_NS, UTC).astimezone(zone)
        if kind == BudgetWindow.BUDGET_WINDOW_HOUR:
            return _hour(local, at_ns)
        days = _days(kind, local.date())
        return Span(_midnight_ns(days.first, zone), _midnight_ns(days.next, zone))
    except (OverflowError, OSError) as error:
        raise ValueError(f"{at_ns} ns since 1970 is beyond the calendar") from error


def time_zone(name: str) -> tzinfo:
    """The IANA time zone `name`; empty: UTC.

    Raises:
        ValueError: there is none of this name.
    """
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"{name[:60]!r} is no time zone; use an IANA name as 'Europe/Berlin'") from error


def _hour(local: datetime, at_ns: int) -> Span:
    # Standard time, because a zone whose summer time is half an hour ahead would have hours of two lengths.
    offset = (local.utcoffset() or timedelta()) - (local.dst() or timedelta())
    shift_ns = int(offset.total_seconds()) % _HOUR_S * _SECOND_NS
    start_ns = at_ns - (at_ns + shift_ns) % (_HOUR_S * _SECOND_NS)
    return Span(start_ns, start_ns + _HOUR_S * _SECOND_NS)


def _days(kind: int, today: date) -> _Days:
    if kind == BudgetWindow.BUDGET_WINDOW_DAY:
        return _Days(today, today + timedelta(days=1))
    if kind == BudgetWindow.BUDGET_WINDOW_WEEK:
        monday = today - timedelta(days=today.weekday())
        return _Days(monday, monday + timedelta(days=7))
    if kind == BudgetWindow.BUDGET_WINDOW_MONTH:
        first = today.replace(day=1)
        return _Days(first, (first + timedelta(days=32)).replace(day=1))
    raise ValueError(f"{kind} is no window; it takes hour, day, week or month")


def _midnight_ns(day: date, zone: tzinfo) -> int:
    """The first instant of a local day: the earlier midnight where there are two, the jump where there is none."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * _SECOND_NS
