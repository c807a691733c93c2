"""`asahi.cache.v1.StoredResponseService`: from messages to the domain and back."""

from typing import Any

import grpc

from asahi.cache.v1 import responses_pb2 as pb
from asahi.cache.v1 import responses_pb2_grpc
from asahi_cache.domain.stored_responses import ResponseId, StoredResponses, Turn

_Context = grpc.aio.ServicerContext[Any, Any]


class StoredResponseServicer(responses_pb2_grpc.StoredResponseServiceServicer):
    """Serves `StoredResponses`."""

    def __init__(self, responses: StoredResponses) -> None:
        self._responses = responses

    async def KeepResponse(self, request: pb.KeepResponseRequest, context: _Context) -> pb.KeepResponseResponse:
        turn = request.turn
        await self._responses.keep(
            ResponseId(request.organization_id, turn.response_id),
            previous_id=request.previous_response_id,
            user_id=request.user_id,
            turn=Turn(turn.response_id, turn.input_json, turn.output_json),
            response_json=request.response_json,
            keep_s=request.keep_for.ToNanoseconds() / 1e9,
        )
        return pb.KeepResponseResponse()

    async def GetResponse(self, request: pb.GetResponseRequest, context: _Context) -> pb.GetResponseResponse:
        response, output = await self._responses.get(ResponseId(request.organization_id, request.response_id))
        return pb.GetResponseResponse(response_json=response, output_json=output)

    async def GetConversation(
        self, request: pb.GetConversationRequest, context: _Context
    ) -> pb.GetConversationResponse:
        turns = await self._responses.conversation(ResponseId(request.organization_id, request.response_id))
        return pb.GetConversationResponse(
            turns=[
                pb.ConversationTurn(
                    response_id=turn.response_id, input_json=turn.input_json, output_json=turn.output_json
                )
                for turn in turns
            ]
        )

    async def DeleteResponse(self, request: pb.DeleteResponseRequest, context: _Context) -> pb.DeleteResponseResponse:
        await self._responses.delete(ResponseId(request.organization_id, request.response_id))
        return pb.DeleteResponseResponse()

    async def EraseResponses(self, request: pb.EraseResponsesRequest, context: _Context) -> pb.EraseResponsesResponse:
        dropped = await self._responses.erase(request.organization_id, request.user_id)
        return pb.EraseResponsesResponse(dropped=dropped)
