"""`POST /signup`: a new organisation with its first key."""

from fastapi import APIRouter, Request, Response

from asahi.auth.v1 import auth_pb2
from asahi_edge.api.bodies import read_body
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.limits import address_of
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.signup import SignupAnswer, SignupBody
from asahi_edge.api.services import services_of
from asahi_edge.domain.access import scope_name

router = APIRouter()


@router.post(
    "/signup",
    tags=["Start here"],
    **documented(
        summary="Sign up",
        body=SignupBody,
        answer=SignupAnswer,
        status=201,
        errors=(400, 403, 413, 415, 429, 503),
    ),
)
async def signup(request: Request) -> Response:
    """Make an organization with its first key (scope `all`). Needs no key; the operator may ask for an invite."""
    services = services_of(request)
    address = address_of(request)
    body = convert(decode_object(await read_body(request)), SignupBody)
    services.signups.take(address)
    made = await services.governance.signup(
        auth_pb2.SignupRequest(
            organization_name=body.org_name,
            user_id=body.user_id,
            email=body.email or "",
            invite_code=body.invite_code or "",
            address=address,
        )
    )
    answer = SignupAnswer(
        org_id=made.organization_id,
        org_name=made.organization_name,
        api_key=made.secret,
        api_key_id=made.api_key.id,
        scopes=[scope_name(scope) for scope in made.api_key.scopes],
    )
    return json_response(answer, status=201)
