"""Kept responses in a whole installation: two edges, the cache service on PostgreSQL, which breaks and is mended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import ADMIN_SECRET, Installation, Organization, running_installation
from tests.postgresql import PostgreSQL, postgresql

_PATH = "/v1/responses"


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    """What the cache service keeps them in."""
    with postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def running(database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("stored")
    environment = {"cache": {"DATABASE_URL": database.create_database("cache")}}
    with running_installation(folder, edges=2, environment=environment) as installation:
        yield installation


def _ask(organization: Organization, text: str, *, edge: str = "edge", **fields: Any) -> httpx2.Response:
    with organization.client(edge) as client:
        return client.post(_PATH, json={"input": text, **fields})


def _read(organization: Organization, response_id: str, *, edge: str = "edge") -> httpx2.Response:
    with organization.client(edge) as client:
        return client.get(f"{_PATH}/{response_id}")


def test_what_one_edge_keeps_another_goes_on_with_after_the_cache_service_was_killed(running: Installation) -> None:
    organization, other = running.signup(), running.signup()
    first = _ask(organization, "What is a river?").json()
    running["cache"].kill()
    running["cache"].start()
    running["cache"].wait_ready()
    second = _ask(organization, "And a sea?", edge="edge2", previous_response_id=first["id"])
    assert second.status_code == 200, second.text
    alone = _ask(organization, "And a sea?")
    assert second.json()["usage"]["input_tokens"] > alone.json()["usage"]["input_tokens"]
    assert _read(organization, first["id"], edge="edge2").json() == first
    foreign, unknown = _read(other, first["id"]), _read(other, "resp_unknown")
    assert foreign.status_code == unknown.status_code == 404
    words = [answer.json()["error"]["message"] for answer in (foreign, unknown)]
    assert words[0].replace(first["id"], "resp_unknown") == words[1]
    theirs = _ask(other, "And a sea?", previous_response_id=first["id"])
    assert (theirs.status_code, theirs.json()["error"]["param"]) == (404, "previous_response_id")


@pytest.mark.parametrize("broken", ["database", "cache"])
def test_without_what_keeps_them_answers_are_given_and_what_needs_them_is_503(
    running: Installation, database: PostgreSQL, broken: str
) -> None:
    organization = running.signup()
    kept = _ask(organization, "What is a river?").json()
    if broken == "database":
        database.stop()
    else:
        running["cache"].kill()
    try:
        answered = _ask(organization, "What is a lake?")
        needing = _ask(organization, "And a sea?", previous_response_id=kept["id"])
        read = _read(organization, kept["id"])
        unkept = _ask(organization, "What is a pond?", store=False)
    finally:
        if broken == "database":
            database.start()
        else:
            running["cache"].start()
            running["cache"].wait_ready()
    assert (answered.status_code, answered.json()["store"]) == (200, False)
    assert "stored_responses" in answered.headers["x-asahi-degraded"].split(",")
    for refused in (needing, read):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert "retry-after" in refused.headers
    assert unkept.status_code == 200
    assert "stored_responses" not in unkept.headers.get("x-asahi-degraded", "")
    assert _read(organization, kept["id"]).json() == kept
    assert _read(organization, answered.json()["id"]).status_code == 404


def test_end_users_and_organizations_are_erased_with_a_receipt(running: Installation) -> None:
    organization = running.signup()
    hers = [_ask(organization, f"Question {number}?", user="ada").json() for number in range(2)]
    his = _ask(organization, "Question 3?", user="ben").json()
    with organization.client() as client:
        receipt = client.delete("/governance/users/ada/data").json()
    assert {"store": "cache.responses", "erased": 2} in receipt["erased"]
    assert [_read(organization, one["id"]).status_code for one in (*hers, his)] == [404, 404, 200]
    path = f"{running.url}/governance/organizations/{organization.id}"
    gone = httpx2.delete(path, headers={"x-admin-secret": ADMIN_SECRET}, timeout=30.0, verify=False)
    assert {"store": "cache.responses", "erased": 1} in gone.json()["erased"]


def test_the_policy_says_how_long_and_nothing_is_kept_for_no_days(running: Installation) -> None:
    organization = running.signup()
    with organization.client() as client:
        path = f"/governance/policies/{organization.id}"
        changed = client.post(path, json={"retention": {"responses_days": 0}})
        assert changed.status_code == 200, changed.text
        told = client.post(_PATH, json={"input": "What is a river?", "store": True})
    assert told.json()["store"] is False
    assert _read(organization, told.json()["id"]).status_code == 404
