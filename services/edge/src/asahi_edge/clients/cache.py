"""The cache service: answers that were given before."""

from google.protobuf.duration_pb2 import Duration

from asahi.cache.v1 import cache_pb2 as pb
from asahi.cache.v1.cache_pb2_grpc import CacheServiceStub
from asahi_core.rpc.channel import ServiceChannel

SERVICE = pb.DESCRIPTOR.services_by_name["CacheService"]


class CacheClient:
    """Calls the cache service. A lookup must not hold a request up: it has `timeout_s`, then it is a miss."""

    def __init__(self, channel: ServiceChannel, timeout_s: float) -> None:
        self._stub = CacheServiceStub(channel)
        self._timeout_s = timeout_s

    async def lookup(self, organization_id: str, fingerprint: bytes, max_age_s: float | None) -> pb.CacheHit | None:
        """The answer kept under the fingerprint, over all tiers; None: a miss."""
        request = pb.LookupRequest(organization_id=organization_id, fingerprint=fingerprint)
        if max_age_s is not None:
            request.max_age.CopyFrom(_duration(max_age_s))
        response = await self._stub.Lookup(request, timeout=self._timeout_s)
        return response.hit if response.HasField("hit") else None

    async def store(self, organization_id: str, fingerprint: bytes, entry: pb.CacheEntry) -> None:
        """Keeps a complete answer."""
        request = pb.StoreRequest(organization_id=organization_id, fingerprint=fingerprint, entry=entry)
        await self._stub.Store(request, timeout=self._timeout_s)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(int(seconds * 1_000_000))
    return duration
