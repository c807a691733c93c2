"""Calendar windows follow each other without gap or overlap, whatever clocks do."""

from datetime import UTC, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi.type.v1.policy_pb2 import BudgetWindow
from asahi_billing.domain.windows import Calendar, window_at

_KINDS = [kind for kind in BudgetWindow.values() if kind]
_ZONES = sorted(available_timezones() - {"Factory", "localtime"})
_HOUR = 3600 * 10**9
HOUR, DAY, WEEK, MONTH = (
    BudgetWindow.BUDGET_WINDOW_HOUR,
    BudgetWindow.BUDGET_WINDOW_DAY,
    BudgetWindow.BUDGET_WINDOW_WEEK,
    BudgetWindow.BUDGET_WINDOW_MONTH,
)


def _ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@given(
    st.sampled_from(_KINDS),
    st.sampled_from(_ZONES),
    st.integers(1_100_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.floats(0, 1, exclude_max=True),
)
def test_windows_tile_time(kind: int, zone: str, moment: datetime, share: float) -> None:
    at_ns = int(moment.timestamp()) * 10**9
    window = window_at(kind, zone, at_ns)
    assert window.start_ns <= at_ns < window.end_ns
    assert window_at(kind, zone, window.end_ns).start_ns == window.end_ns
    assert window_at(kind, zone, window.start_ns - 1).end_ns == window.start_ns
    within = window.start_ns + int(share * (window.end_ns - window.start_ns))
    assert window_at(kind, zone, within) == window


@pytest.mark.parametrize(
    ("kind", "zone", "moment", "start", "hours"),
    [
        (DAY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", 23),
        (DAY, "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", 25),
        (WEEK, "Europe/Berlin", "2026-10-25T12:00", "2026-10-18T22:00", 7 * 24 + 1),
        (MONTH, "America/New_York", "2026-03-01T04:59", "2026-02-01T05:00", 28 * 24),
        (MONTH, "America/New_York", "2026-03-01T05:00", "2026-03-01T05:00", 31 * 24 - 1),
        (HOUR, "Asia/Kolkata", "2026-11-24T12:10", "2026-11-24T11:30", 1),
        (HOUR, "Australia/Lord_Howe", "2026-04-04T15:05", "2026-04-04T14:30", 1),
        (DAY, "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", 24),
        (DAY, "", "2026-11-24T23:59", "2026-11-24T00:00", 24),
    ],
)
def test_windows_begin_where_a_wall_calendar_says(kind: int, zone: str, moment: str, start: str, hours: int) -> None:
    window = window_at(kind, zone, _ns(moment))
    assert window.start_ns == _ns(start)
    assert (window.end_ns - window.start_ns) == hours * _HOUR


def test_what_is_no_zone_or_no_window_is_told() -> None:
    with pytest.raises(ValueError, match="Europe/Nowhere"):
        window_at(DAY, "Europe/Nowhere", 0)
    with pytest.raises(ValueError, match="no time zone"):
        window_at(DAY, "../etc/passwd", 0)
    with pytest.raises(ValueError, match="no window"):
        window_at(0, "UTC", 0)


def test_a_calendar_remembers_the_present_window_only() -> None:
    calendar = Calendar()
    for moment in ("2026-11-24T10:00", "2026-11-24T23:59", "2026-11-25T00:00", "2026-11-24T10:00"):
        assert calendar.window(DAY, "UTC", _ns(moment)) == window_at(DAY, "UTC", _ns(moment))
