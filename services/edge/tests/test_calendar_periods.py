"""Calendar days and months begin when they do where the policy says."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from asahi_edge.domain.calendar_periods import start_of


@pytest.mark.parametrize(
    ("period", "timezone", "now", "start"),
    [
        pytest.param("day", "UTC", "2026-11-24T13:00", "2026-11-24T00:00", id="a day in UTC"),
        pytest.param("day", "Asia/Kolkata", "2026-11-24T13:00", "2026-11-23T18:30", id="half an hour off"),
        pytest.param("day", "Europe/Paris", "2026-03-29T12:00", "2026-03-28T23:00", id="a day of 23 hours"),
        pytest.param("day", "Europe/Paris", "2026-10-25T12:00", "2026-10-24T22:00", id="a day of 25 hours"),
        pytest.param("month", "Europe/Paris", "2026-10-31T22:59", "2026-09-30T22:00", id="a month across the change"),
        pytest.param("month", "Europe/Paris", "2026-10-31T23:01", "2026-10-31T23:00", id="the next month"),
        pytest.param("day", "America/Santiago", "2026-09-06T12:00", "2026-09-06T04:00", id="midnight is skipped"),
        pytest.param("day", "America/Havana", "2026-11-01T12:00", "2026-11-01T04:00", id="midnight comes twice"),
        pytest.param("day", "America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", id="within the second one"),
    ],
)
def test_a_period_begins_with_its_first_moment(
    period: Literal["day", "month"], timezone: str, now: str, start: str
) -> None:
    assert start_of(period, _utc(now), timezone) == _utc(start)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
