"""Times of messages that are none."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from asahi_core.errors import InvalidRequest
from asahi_core.times import length_of, moment_of, nanos_of

_NONE = [Timestamp(seconds=2**63 - 1), Timestamp(seconds=-(2**63)), Timestamp(nanos=-1), Timestamp(nanos=2**31 - 1)]


def test_a_time_is_read_as_it_is() -> None:
    noon = Timestamp(seconds=1_767_268_800, nanos=7)
    assert moment_of(noon, "start") == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert nanos_of(noon, "start") == 1_767_268_800_000_000_007
    assert length_of(Duration(seconds=90), "overlap") == timedelta(seconds=90)


@pytest.mark.parametrize("time", _NONE)
def test_a_time_that_there_is_not_is_the_callers_mistake(time: Timestamp) -> None:
    for read in (moment_of, nanos_of):
        with pytest.raises(InvalidRequest, match="start is not a time") as refused:
            read(time, "start")
        assert refused.value.param == "start"


@pytest.mark.parametrize("duration", [Duration(seconds=2**63 - 1), Duration(seconds=-(2**63))])
def test_a_duration_that_there_is_not_is_the_callers_mistake(duration: Duration) -> None:
    with pytest.raises(InvalidRequest, match="overlap is not a duration"):
        length_of(duration, "overlap")
