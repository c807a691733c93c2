"""Every path × every scope × {own, foreign, unknown, revoked, expired, suspended}, generated from the document."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.access_matrix import OPENS, PAGE, SCOPES, STATES, WHOSE, Place, Row, Whose, page_with, rows, table
from tests.api_contract import OPERATOR, PUBLIC, openapi_document
from tests.installation import ADMIN_SECRET, Installation, running_installation

DOCUMENT = openapi_document()
ROWS = [pytest.param(row, id=row.label) for row in rows(DOCUMENT)]
CLOSED = [pytest.param(row, id=row.label) for row in rows(DOCUMENT) if row.operation.scope != PUBLIC]
GOVERNANCE = [
    pytest.param(row, id=row.label) for row in rows(DOCUMENT) if row.operation.path.startswith("/governance/")
]
_GUARD_S = 120.0
_MANY = {"ASAHI_SIGNUPS_PER_MINUTE": "100000", "ASAHI_UNKNOWN_KEYS_PER_MINUTE": "100000"}
_OTHER_PARAMETERS = {"model": "gpt-6-luna", "user_id": "ada"}


@dataclass(frozen=True, slots=True)
class World:
    """An installation with organisations whose keys have lost their effect, and one that is not the caller's."""

    client: httpx2.Client
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """By state and scope."""
    foreign: dict[str, str] = field(default_factory=dict)
    """Ids that are somebody else's, by the name of the parameter."""

    def ask(self, row: Row, credentials: Mapping[str, str], ids: Mapping[str, str]) -> httpx2.Response:
        """Sends the example of the row with `ids` at its places."""
        path = row.operation.path
        for name, value in {**_OTHER_PARAMETERS, **{p.name: ids[p.name] for p in row.places}}.items():
            path = path.replace(f"{{{name}}}", value)
        query = {place.name: ids[place.name] for place in row.places if place.where == "query"}
        body = row.body
        if isinstance(body, dict):
            body = {**body, **{place.name: ids[place.name] for place in row.places if place.where == "body"}}
        return self.client.request(row.operation.method, path, headers=dict(credentials), params=query, json=body)

    def operate(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the operator's call answers."""
        answer = self.client.request(method, f"/governance/{path}", headers=_operator(), json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def organization(self) -> str:
        """A new one."""
        made: str = self.operate("POST", "organizations", {"name": "Matrix"})["id"]
        return made

    def key(self, organization: str, scope: str, **fields: Any) -> dict[str, Any]:
        """A new key."""
        return self.operate(
            "POST",
            "api-keys",
            {"name": scope, "scopes": [scope], "organization_id": organization, **fields},
        )

    def response(self, organization: str) -> str:
        """A new one that is kept."""
        bearer = _bearer(self.key(organization, "infer")["api_key"])
        answer = self.client.post("/v1/responses", headers=bearer, json={"input": "What is kept?"})
        made: str = answer.json()["id"]
        return made

    def owned_by(self, organization: str, places: Sequence[Place]) -> dict[str, str]:
        """Ids of what an organisation has, made anew; invites are the operator's."""
        kept = any(place.name == "response_id" for place in places)
        return {
            "response_id": self.response(organization) if kept else "",
            "org_id": organization,
            "organization_id": organization,
            "api_key_id": self.key(organization, "infer")["id"],
            "invite_id": self.operate("POST", "invites", {})["id"],
            "request_id": "01a20da6-23de-7451-967a-afcb49443661",
        }


UNKNOWN = {
    "org_id": "org_0000000000000000",
    "organization_id": "org_0000000000000000",
    "api_key_id": "key_00000000",
    "invite_id": "invite_000000000000",
    "request_id": "01a20da6-0000-7000-8000-000000000000",
    "response_id": "resp_00000000",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    with running_installation(folder, environment={"edge": _MANY}) as running:
        yield running


@pytest.fixture(scope="module")
def world(installed: Installation) -> Iterator[World]:
    with httpx2.Client(base_url=installed.url, timeout=60.0, verify=False) as client:
        made = World(client)
        home, closed = made.organization(), made.organization()
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        made.keys["expired"] = {scope: made.key(home, scope, expires_at=soon)["api_key"] for scope in SCOPES}
        revoked = {scope: made.key(home, scope) for scope in SCOPES}
        for key in revoked.values():
            made.operate("DELETE", f"api-keys/{key['id']}?organization_id={home}")
        made.keys["revoked"] = {scope: key["api_key"] for scope, key in revoked.items()}
        made.keys["suspended"] = {scope: made.key(closed, scope)["api_key"] for scope in SCOPES}
        made.operate("POST", f"organizations/{closed}/suspend")
        made.foreign.update(_foreign_request(made) | {"response_id": made.response(made.organization())})
        _wait_until_refused(made, made.keys["expired"]["all"])
        yield made


def _foreign_request(world: World) -> dict[str, str]:
    """The id of a request that is recorded, of another organisation."""
    organization = world.organization()
    bearer = _bearer(world.key(organization, "all")["api_key"])
    answer = world.client.post("/infer", headers=bearer, json={"prompt": "What is foreign?"})
    assert world.client.get("/governance/usage", headers=bearer).json()["data"]["requests"] == 1
    return {"request_id": answer.json()["request_id"]}


def _wait_until_refused(world: World, key: str) -> None:
    deadline = time.monotonic() + _GUARD_S
    while world.client.get("/governance/usage", headers=_bearer(key)).status_code != 401:
        assert time.monotonic() < deadline, "a key that has expired is still taken"
        time.sleep(0.1)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _operator() -> dict[str, str]:
    return {"x-admin-secret": ADMIN_SECRET}


def test_the_page_has_the_table_of_what_the_edge_serves() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with(table(DOCUMENT), page) == page, "run `.venv/bin/python -m tests.access_matrix`"


@pytest.mark.parametrize("row", ROWS)
def test_a_path_opens_to_whom_the_table_says_and_for_whose_data(world: World, row: Row) -> None:
    own = world.organization()
    foreign = world.organization()
    callers = {scope: _bearer(world.key(own, scope)["api_key"]) for scope in SCOPES} | {OPERATOR: _operator()}
    for caller, credentials in callers.items():
        for place in row.places or (None,):
            refusals = []
            for whose in WHOSE if place is not None else WHOSE[:1]:
                if caller == OPERATOR:  # whom nothing keeps from deleting an organisation
                    own, foreign = world.organization(), world.organization()
                refusals.append(_hold(world, row, caller, credentials, own, foreign, whose, place))
            told = {refusal for refusal in refusals[1:] if refusal is not None}
            assert len(told) <= 1, f"{caller}: foreign and unknown ids are told apart at {place}: {told}"


def _hold(  # noqa: PLR0917 - one cell of the matrix
    world: World,
    row: Row,
    caller: str,
    credentials: Mapping[str, str],
    own: str,
    foreign: str,
    whose: Whose,
    place: Place | None,
) -> str | None:
    """Asks one cell; the words of the refusal, if it is one."""
    ids = world.owned_by(own, row.places)
    if whose == "foreign" and place is not None:
        ids[place.name] = ({**world.owned_by(foreign, ()), **world.foreign})[place.name]
    if whose == "unknown" and place is not None:
        ids[place.name] = UNKNOWN[place.name]
    if place is not None and place.name == "invite_id" and whose == "foreign":
        return None  # invites are the operator's: none is anybody else's
    answer = world.ask(row, credentials, ids)
    expected = row.expected(caller, whose, place)
    cell = f"{row.label}, {caller}, {whose} {place.name if place else ''}: {answer.status_code} {answer.text[:300]}"
    assert str(answer.status_code) in row.operation.statuses, cell
    if expected != OPENS:
        assert answer.status_code == int(expected), cell
        message: str = answer.json()["error"]["message"]
        return message.replace(ids[place.name], "…") if place is not None else message
    assert answer.status_code not in {401, 403, 429}, cell
    assert answer.status_code < 500, cell
    return None


@pytest.mark.parametrize("row", CLOSED)
def test_a_key_without_effect_opens_nothing_and_is_told_so_in_the_same_words(world: World, row: Row) -> None:
    told = set()
    for state, status in STATES.items():
        for scope, key in world.keys[state].items():
            answer = world.ask(row, _bearer(key), UNKNOWN)
            cell = f"{row.label}, {state} key with {scope}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code == int(status), cell
            if status == "401":
                told.add(answer.json()["error"]["message"])
    unknown = world.ask(row, {}, UNKNOWN)
    assert unknown.status_code == 401
    assert told | {unknown.json()["error"]["message"]} == told
    assert len(told) == 1


@pytest.mark.parametrize("row", GOVERNANCE)
@pytest.mark.parametrize(
    "secrets",
    [
        pytest.param([("x-admin-secret", ADMIN_SECRET)] * 2, id="twice"),
        pytest.param([("x-admin-secret", "")], id="empty"),
        pytest.param([("x-admin-secret", "wrong")], id="wrong"),
        pytest.param([("x-admin-secret", f"{ADMIN_SECRET} ,x")], id="a list"),
    ],
)
def test_the_operators_secret_counts_once_and_whole(world: World, row: Row, secrets: list[tuple[str, str]]) -> None:
    path = row.operation.path.replace("{org_id}", UNKNOWN["org_id"])
    answer = world.client.request(row.operation.method, path, headers=secrets, json=row.body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("row", GOVERNANCE)
@pytest.mark.parametrize("name", ["x-admin-secret", "X-Admin-Secret", "x_admin_secret", "admin_secret"])
def test_the_operators_secret_in_a_query_is_refused_beside_the_right_header_too(
    world: World, row: Row, name: str
) -> None:
    for headers in ({}, _operator()):
        answer = world.client.request(
            row.operation.method, row.operation.path, headers=headers, params={name: ADMIN_SECRET}, json=row.body
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert ADMIN_SECRET not in answer.text
