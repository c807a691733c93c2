"""The standard gRPC health of the other services."""

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from asahi_core.errors import AsahiError
from asahi_core.rpc.channel import ServiceChannel

_CHECK = "/grpc.health.v1.Health/Check"
_TIMEOUT_S = 1.0


class HealthClient:
    """Asks services whether they serve."""

    def __init__(self, channels: dict[str, ServiceChannel]) -> None:
        self._checks = {
            name: channel.unary_unary(_CHECK, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
            for name, channel in channels.items()
        }

    async def serving(self, service: str) -> bool:
        """Whether `service` answers, within a second, that it serves."""
        try:
            answer = await self._checks[service](HealthCheckRequest(), timeout=_TIMEOUT_S)
        except AsahiError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)
