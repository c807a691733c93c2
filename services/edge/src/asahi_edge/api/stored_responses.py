"""`/v1/responses/{response_id}`: responses that are kept, read again, dropped, and what they were asked."""

from collections.abc import AsyncGenerator
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi_edge.api.authentication import authorize
from asahi_edge.api.events import event, open_stream
from asahi_edge.api.json import encode, json_response
from asahi_edge.api.openapi.operations import documented, documented_stored_response
from asahi_edge.api.response_replay import replayed
from asahi_edge.api.schemas.responses import DeletedResponse, InputItemList
from asahi_edge.api.services import services_of
from asahi_edge.domain.stored_responses import listed_items, page_of, told_again

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
_ResponseId = Annotated[str, Path(description="The id of the response.", max_length=255)]


@router.get("/responses/{response_id}", **documented_stored_response())
async def get_response(
    request: Request,
    response_id: _ResponseId,
    stream: Annotated[bool, Query(description="Answer in server-sent events, as the response once came.")] = False,
    starting_after: Annotated[
        int | None, Query(description="With `stream`: only events after the one of this number.", ge=0)
    ] = None,
) -> Response:
    """A kept response, as it was answered."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    kept = await services_of(request).responses.get_response(verdict.organization_id, response_id)
    if stream:
        body = encode(told_again(kept))
        return await open_stream(request, _events(body, -1 if starting_after is None else starting_after), {})
    return json_response(told_again(kept))


async def _events(body: bytes, after: int) -> AsyncGenerator[bytes, None]:
    response = msgspec.json.decode(body)
    number = -1
    for told in replayed(response):
        number = told["sequence_number"]
        if number > after:
            yield event(encode(told), told["type"])
    kind = f"response.{response['status']}"
    yield event(encode({"type": kind, "response": response, "sequence_number": number + 1}), kind)


@router.delete(
    "/responses/{response_id}",
    **documented(summary="Drop a stored response", answer=DeletedResponse, errors=(400, 401, 403, 404, 503)),
)
async def delete_response(request: Request, response_id: _ResponseId) -> Response:
    """Drop a kept response. What went on with it stays, but cannot be gone on with any longer."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    await services_of(request).responses.delete_response(verdict.organization_id, response_id)
    return json_response(DeletedResponse(id=response_id))


@router.get(
    "/responses/{response_id}/input_items",
    **documented(
        summary="What a stored response was asked", answer=InputItemList, errors=(400, 401, 403, 404, 413, 503)
    ),
)
async def list_input_items(
    request: Request,
    response_id: _ResponseId,
    after: Annotated[str | None, Query(description="Only items after the one with this id.")] = None,
    limit: Annotated[int, Query(description="Most items of a page.", ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "desc",
) -> Response:
    """What a kept response was asked, with all that was said before it."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    turns = await services_of(request).responses.conversation(verdict.organization_id, response_id)
    page = page_of(listed_items(turns), after=after, limit=limit, newest_first=order == "desc")
    ids = [item.get("id") for item in page.items]
    return json_response(
        InputItemList(
            data=list(page.items),
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=page.has_more,
        )
    )
