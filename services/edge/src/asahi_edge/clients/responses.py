"""The cache service: responses that are kept for their callers."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from asahi.cache.v1 import responses_pb2 as pb
from asahi.cache.v1.responses_pb2_grpc import StoredResponseServiceStub
from asahi_core.rpc.channel import ServiceChannel
from asahi_edge.domain.stored_responses import KeptResponse

SERVICE = pb.DESCRIPTOR.services_by_name["StoredResponseService"]
_KEEP_S = 2.0
"""An answer that is there must not wait long for its being kept."""
_READ_S = 5.0


class ResponsesClient:
    """Calls the cache service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = StoredResponseServiceStub(channel)

    async def keep_response(self, response: KeptResponse) -> None:
        """Keeps a response."""
        keep_for = Duration()
        keep_for.FromNanoseconds(int(response.keep_s * 1e9))
        turn = pb.ConversationTurn(
            response_id=response.response_id, input_json=response.input_json, output_json=response.output_json
        )
        request = pb.KeepResponseRequest(
            organization_id=response.organization_id,
            previous_response_id=response.previous_id,
            user_id=response.user_id,
            turn=turn,
            response_json=response.response_json,
            keep_for=keep_for,
        )
        await self._stub.KeepResponse(request, timeout=_KEEP_S)

    async def get_response(self, organization_id: str, response_id: str) -> pb.GetResponseResponse:
        """A kept response."""
        request = pb.GetResponseRequest(organization_id=organization_id, response_id=response_id)
        return await self._stub.GetResponse(request, timeout=_READ_S)

    async def conversation(self, organization_id: str, response_id: str) -> Sequence[pb.ConversationTurn]:
        """What was said up to a response and with it, oldest first."""
        request = pb.GetConversationRequest(organization_id=organization_id, response_id=response_id)
        return (await self._stub.GetConversation(request, timeout=_READ_S)).turns

    async def delete_response(self, organization_id: str, response_id: str) -> None:
        """Drops a response."""
        request = pb.DeleteResponseRequest(organization_id=organization_id, response_id=response_id)
        await self._stub.DeleteResponse(request, timeout=_READ_S)

    async def erase_responses(self, organization_id: str, user_id: str = "") -> int:
        """Drops the responses of an organisation or of one of its end users; how many."""
        request = pb.EraseResponsesRequest(organization_id=organization_id, user_id=user_id)
        return int((await self._stub.EraseResponses(request)).dropped)
