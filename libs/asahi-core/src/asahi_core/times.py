"""Times as messages carry them: what callers send need not be one."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from asahi_core.errors import InvalidRequest


def moment_of(timestamp: Timestamp, param: str) -> datetime:
    """The moment, in UTC; raises InvalidRequest for one that there is not."""
    try:
        return timestamp.ToDatetime(UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(f"{param} is not a time of the years 1 to 9999.", param=param) from error


def nanos_of(timestamp: Timestamp, param: str) -> int:
    """Nanoseconds since 1970; raises InvalidRequest where `moment_of` does."""
    try:
        return timestamp.ToNanoseconds()
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(f"{param} is not a time of the years 1 to 9999.", param=param) from error


def length_of(duration: Duration, param: str) -> timedelta:
    """The duration; raises InvalidRequest for one that there is not."""
    try:
        return duration.ToTimedelta()
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(f"{param} is not a duration of at most 10 000 years.", param=param) from error
