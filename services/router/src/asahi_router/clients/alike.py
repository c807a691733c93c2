"""The cache service as one that says whether two answers say the same."""

from asahi.cache.v1 import cache_pb2
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.errors import ServiceUnavailable
from asahi_core.rpc.channel import ServiceChannel

_TIMEOUT_S = 20.0


class CacheAlike:
    """Asks the judge of tier 2's audits. The channel is another's to close."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = CacheServiceStub(channel)

    async def alike(self, one: str, other: str) -> bool:
        """Whether two texts say the same; raises AsahiError where it cannot be told."""
        asked = cache_pb2.CompareAnswersRequest(one=one, other=other)
        return (await self._stub.CompareAnswers(asked, timeout=_TIMEOUT_S)).same


class NothingAlike:
    """Where there is no cache service: what is not the same to the letter cannot be told."""

    async def alike(self, one: str, other: str) -> bool:
        """Raises ServiceUnavailable."""
        raise ServiceUnavailable("There is no cache service to compare answers (ASAHI_CACHE_TARGET).")
