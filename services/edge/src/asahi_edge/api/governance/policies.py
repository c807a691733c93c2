"""`/governance/policies`: what an organisation allows itself, in versions."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from google.protobuf.struct_pb2 import Struct
from msgspec import UNSET, to_builtins

from asahi.auth.v1 import auth_pb2
from asahi_core.errors import InvalidRequest
from asahi_edge.api.authentication import authorize_governance
from asahi_edge.api.bodies import read_body
from asahi_edge.api.governance.budgets import budget_settings
from asahi_edge.api.governance.policy_view import policy_view
from asahi_edge.api.governance.queries import Cursor, Limit
from asahi_edge.api.json import convert, decode_object, json_response
from asahi_edge.api.openapi.components import ALWAYS, header_references, parameters
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.policies import PolicyBody, PolicyHistory, PolicyView
from asahi_edge.api.services import services_of

router = APIRouter()
_OrgId = Annotated[str, Path(description="The id of the organization: a key's own.")]
_ETAG = re.compile(r'"(?P<version>\d{1,18})"')


def _documented_read() -> dict[str, Any]:
    arguments = documented(summary="A policy", answer=PolicyView, errors=(400, 401, 403, 404, 503))
    arguments["responses"][200]["headers"] = header_references((*ALWAYS, "etag"))
    return arguments


def _documented_change() -> dict[str, Any]:
    arguments = documented(
        summary="Change a policy",
        body=PolicyBody,
        answer=PolicyView,
        errors=(400, 401, 403, 404, 409, 413, 415, 501, 503),
    )
    arguments["responses"][200]["headers"] = header_references((*ALWAYS, "etag"))
    arguments["openapi_extra"]["parameters"] = parameters("if-match")
    return arguments


@router.get("/governance/policies/{org_id}", tags=["Governance"], **_documented_read())
async def get_policy(request: Request, org_id: _OrgId) -> Response:
    """The policy in its present version, with every default filled in."""
    _, organization = await authorize_governance(request, org_id, param="org_id")
    wanted = auth_pb2.GetPolicyRequest(organization_id=organization)
    found = await services_of(request).governance.get_policy(wanted)
    return _answer(organization, found.policy)


@router.post("/governance/policies/{org_id}", tags=["Governance"], **_documented_change())
async def update_policy(request: Request, org_id: _OrgId) -> Response:
    """Change a policy; edges follow within a second. What is absent keeps its value, null restores the default.

    With `If-Match` or `version` only if it is at that version; otherwise 409, and nothing changes.
    """
    services = services_of(request)
    raw = await read_body(request)
    actor, organization = await authorize_governance(request, org_id, param="org_id")
    body = convert(decode_object(raw), PolicyBody)
    expected = expected_version(request, None if body.version is UNSET else body.version)
    body.version = UNSET
    settings = to_builtins(body)
    if body.budgets:
        settings["budgets"] = budget_settings(body.budgets)
    changes = Struct()
    changes.update(settings)
    wanted = auth_pb2.UpdatePolicyRequest(
        actor=actor, organization_id=organization, changes=changes, expected_version=expected
    )
    changed = await services.governance.update_policy(wanted)
    services.verdicts.forget_organization(organization)
    return _answer(organization, changed.policy)


@router.get(
    "/governance/policies/{org_id}/history",
    tags=["Governance"],
    **documented(summary="Versions of a policy", answer=PolicyHistory, errors=(400, 401, 403, 404, 503)),
)
async def list_policy_versions(request: Request, org_id: _OrgId, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """Every version of a policy, newest first."""
    _, organization = await authorize_governance(request, org_id, param="org_id")
    wanted = auth_pb2.ListPolicyVersionsRequest(organization_id=organization, page_size=limit, page_token=cursor)
    page = await services_of(request).governance.list_policy_versions(wanted)
    views = [policy_view(organization, version) for version in page.versions]
    return json_response(PolicyHistory(views, page.next_page_token or None))


def _answer(organization_id: str, version: auth_pb2.PolicyVersion) -> Response:
    return json_response(policy_view(organization_id, version), headers={"etag": f'"{version.version}"'})


def expected_version(request: Request, in_body: int | None) -> int | None:
    """The version that the caller expects, in the body or as `If-Match`; None: any."""
    sent = ",".join(request.headers.getlist("if-match")).strip()
    if sent in {"", "*"}:
        return in_body
    found = _ETAG.fullmatch(sent)
    if found is None:
        raise InvalidRequest(
            f"If-Match: {sent[:60]!r} is not the ETag of a policy; send one as it came, such as '\"3\"'.",
            param="if-match",
        )
    version = int(found["version"])
    if in_body is not None and in_body != version:
        raise InvalidRequest(f"'version' is {in_body}, If-Match says {version}; send one of them.", param="version")
    return version
