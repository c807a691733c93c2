"""Fields of requests that both servicers read."""

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from asahi_billing.domain.store import Span
from asahi_core.errors import InvalidRequest

_MAX_INT64 = 2**63 - 1


def span_of(request: Message) -> Span:
    """The time of a request with `start_time` and `end_time`; raises InvalidRequest where one is missing."""
    return Span(_time(request, "start_time"), _time(request, "end_time"))


def _time(request: Message, field: str) -> int:
    """Nanoseconds since 1970 of a timestamp field, as near as an int64 holds them."""
    if not request.HasField(field):
        raise InvalidRequest(f"{field} is missing.", param=field)
    time: Timestamp = getattr(request, field)
    return max(-_MAX_INT64, min(time.seconds * 1_000_000_000 + time.nanos, _MAX_INT64))
