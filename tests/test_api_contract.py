"""docs/API_CONTRACT.md is what the edge serves: paths, fields, scopes, statuses, errors."""

import re
from typing import Any

import httpx2
import pytest

from asahi_core.errors import ERRORS_BY_CODE, Cancelled, InternalError
from tests.api_contract import PAGE, SCOPES, Operation, openapi_document, operations, page_with, tables
from tests.documents import ROOT
from tests.installation import Installation, Organization

OPERATIONS = [pytest.param(one, id=f"{one.method} {one.path}") for one in operations(openapi_document())]
OPENED_BY = {"infer": {"infer", "admin"}, "analytics": {"analytics", "admin"}, "admin": {"admin"}, "operator": set()}
_ERROR_ROW = re.compile(r"^\| (?P<status>\d{3}) \| `(?P<code>\w+)` \|", re.MULTILINE)


@pytest.fixture(scope="module")
def scoped(installation: Installation) -> Organization:
    """The organisation whose keys are tried."""
    return installation.signup("Scopes")


@pytest.fixture(scope="module")
def keys(scoped: Organization) -> dict[str, str]:
    """A key with each scope alone, by scope."""
    with scoped.client() as client:
        return {scope: _new_key(client, scope) for scope in SCOPES}


def _new_key(client: httpx2.Client, scope: str) -> str:
    answer = client.post("/governance/api-keys", json={"name": scope, "scopes": [scope]})
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["api_key"]
    return key


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with(tables(openapi_document()), page) == page, "run `.venv/bin/python -m tests.api_contract`"


def test_the_page_is_about_what_the_edge_serves(installation: Installation) -> None:
    served = httpx2.get(f"{installation.url}/openapi.json", timeout=30.0, verify=False).json()
    assert served == openapi_document()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_path_opens_to_the_scopes_that_the_page_names_and_to_no_other(
    scoped: Organization, keys: dict[str, str], operation: Operation
) -> None:
    without = ask(scoped, operation, None)
    if operation.scope == "none":
        assert without.status_code != 401
        return
    assert (without.status_code, error_of(without)["type"]) == (401, "authentication_error")
    for scope, key in keys.items():
        answer = ask(scoped, operation, key)
        if scope not in OPENED_BY[operation.scope]:
            assert (answer.status_code, error_of(answer)["type"]) == (403, "permission_error")
        else:
            assert answer.status_code not in {401, 403, 501}
            assert str(answer.status_code) in operation.statuses


def test_the_operators_secret_opens_what_is_governance(installation: Installation, organization: Organization) -> None:
    secret = installation["edge"].environment["ASAHI_ADMIN_SECRET"]
    with httpx2.Client(
        base_url=installation.url, headers={"x-admin-secret": secret}, timeout=30.0, verify=False
    ) as client:
        assert client.get("/governance/usage", params={"org_id": organization.id}).status_code == 200
        assert client.get("/governance/api-keys", params={"organization_id": organization.id}).status_code == 200
        assert client.get("/governance/api-keys").status_code == 400


def test_the_guide_says_what_to_do_about_every_error() -> None:
    guide = (ROOT / "docs" / "INTEGRATION_GUIDE.md").read_text(encoding="utf-8")
    told = {match["code"]: int(match["status"]) for match in _ERROR_ROW.finditer(guide)}
    known = {code: error.http_status for code, error in ERRORS_BY_CODE.items()}
    assert told == {c: s for c, s in known.items() if c not in {Cancelled.code, InternalError.code}}


def ask(scoped: Organization, operation: Operation, key: str | None) -> httpx2.Response:
    """A call with empty input about `scoped`: enough to be let in or refused."""
    installation = scoped.installation
    path = re.sub(r"\{\w+\}", "unknown", operation.path.replace("{org_id}", scoped.id))
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body: Any = {} if operation.method in {"POST", "PUT"} else None
    return httpx2.request(
        operation.method, f"{installation.url}{path}", headers=headers, json=body, timeout=30.0, verify=False
    )


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error in an answer of either shape."""
    error: dict[str, Any] = answer.json()["error"]
    return error
