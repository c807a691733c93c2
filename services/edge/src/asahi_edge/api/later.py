"""Documented paths that this version does not serve yet: a clear 501 in place of silence or 404."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi_core.errors import NotImplementedYet
from asahi_edge.api.authentication import authorize
from asahi_edge.api.openapi.operations import documented_later

router = APIRouter()


class _Later(NamedTuple):
    method: str
    path: str
    tag: str
    summary: str


LATER = (
    _Later("GET", "/v1/responses/{response_id}", "OpenAI-compatible", "A stored response"),
    _Later("DELETE", "/v1/responses/{response_id}", "OpenAI-compatible", "Delete a stored response"),
    _Later("GET", "/v1/responses/{response_id}/input_items", "OpenAI-compatible", "What a stored response was asked"),
)
_SCOPES = {"Analytics": Scope.SCOPE_ANALYTICS}


def _endpoint(later: _Later) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        await authorize(request, _SCOPES.get(later.tag, Scope.SCOPE_INFER))
        raise NotImplementedYet(f"{later.method} {later.path} is not served by this version.")

    name = f"{later.method}_{later.path}".lower()
    refuse.__name__ = "".join(c if c.isalnum() else "_" for c in name).strip("_")
    return refuse


for one in LATER:
    router.add_api_route(
        one.path,
        _endpoint(one),
        methods=[one.method],
        tags=[one.tag],
        **documented_later(one.path, one.summary),
    )
