"""Policies over HTTP: versions, conditions, history, and what is refused by name."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization


def path_of(caller: Organization) -> str:
    """The caller's policy."""
    return f"/governance/policies/{caller.id}"


def test_what_is_absent_keeps_its_value_and_null_restores_the_default(caller: Organization) -> None:
    with caller.client() as client:
        first = client.post(path_of(caller), json={"timezone": "Europe/Paris", "quality": {"floor": 2.5}}).json()
        second = client.post(path_of(caller), json={"quality": {"floor": None, "epsilon": 0.02}}).json()
        read = client.get(path_of(caller))
    assert (first["version"], first["quality"]["floor"]) == (1, 2.5)
    assert second["timezone"] == "Europe/Paris"
    assert (second["quality"]["floor"], second["quality"]["epsilon"]) == (3.0, 0.02)
    assert read.json() == second
    assert read.headers["etag"] == '"2"'


@pytest.mark.parametrize("way", ["If-Match", "version"])
def test_a_change_to_another_version_than_expected_is_a_conflict_and_changes_nothing(
    caller: Organization, way: str
) -> None:
    def change(client: httpx2.Client, version: int, **fields: Any) -> httpx2.Response:
        if way == "version":
            return client.post(path_of(caller), json={**fields, "version": version})
        return client.post(path_of(caller), json=fields, headers={"if-match": f'"{version}"'})

    with caller.client() as client:
        made = change(client, 0, timezone="Asia/Tokyo")
        stale = change(client, 0, timezone="Europe/Paris")
        kept = client.get(path_of(caller)).json()
    assert made.status_code == 200, made.text
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "version_conflict")
    assert stale.headers["x-should-retry"] == "false"
    assert (kept["version"], kept["timezone"]) == (1, "Asia/Tokyo")


@pytest.mark.parametrize("sent", ["3", 'W/"3"', '"three"', '"1", "2"'])
def test_an_if_match_that_is_no_etag_of_a_policy_is_refused(caller: Organization, sent: str) -> None:
    with caller.client() as client:
        answer = client.post(path_of(caller), json={"timezone": "UTC"}, headers={"if-match": sent})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "if-match")


def test_two_expectations_that_differ_are_refused(caller: Organization) -> None:
    with caller.client() as client:
        answer = client.post(path_of(caller), json={"version": 1}, headers={"if-match": '"2"'})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "version")


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"timezone": "Mars/Olympus"}, 400, "timezone"),
        ({"quality": {"floor": 6}}, 400, "quality.floor"),
        ({"qualty": {}}, 400, "qualty"),
        ({"cache": {"tiers": [4]}}, 400, "cache.tiers[0]"),
        ({"rate_limits": {"requests_per_minute": 0}}, 400, "rate_limits.requests_per_minute"),
        ({"rate_limits": {"per_user": {"per_user": {}}}}, 400, "rate_limits.per_user.per_user"),
        ({"budgets": [{"per": "key", "window": "day", "limit_usd": 1}]}, 400, "budgets[0]"),
        ({"alerts": {"webhook_url": "example.com"}}, 400, "alerts.webhook_url"),
        ({"learning": {"exploration": 2}}, 400, "learning.exploration"),
        ({"learning": {"shadow_share": 2}}, 400, "learning.shadow_share"),
        ({"learning": {"monthly_limit_usd": -1}}, 400, "learning.monthly_limit_usd"),
        ({"learning": {"cascade": "calibrated"}}, 501, "learning.cascade"),
        ({"learning": {"cascade": "on"}}, 400, "learning.cascade"),
        ({"cache": {"false_hit_bound": 0}}, 400, "cache.false_hit_bound"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_by_its_fields_name(
    caller: Organization, changes: dict[str, Any], status: int, param: str
) -> None:
    with caller.client() as client:
        answer = client.post(path_of(caller), json=changes)
        kept = client.get(path_of(caller)).json()
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert kept["version"] == 0


def test_the_history_has_every_version_newest_first_page_by_page(caller: Organization) -> None:
    zones = ["Asia/Tokyo", "Europe/Paris", "America/Lima"]
    with caller.client() as client:
        for zone in zones:
            client.post(path_of(caller), json={"timezone": zone})
        first = client.get(f"{path_of(caller)}/history", params={"limit": 2}).json()
        rest = client.get(f"{path_of(caller)}/history", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    seen = [*first["data"], *rest["data"]]
    assert [one["timezone"] for one in seen] == zones[::-1]
    assert [one["version"] for one in seen] == [3, 2, 1]
    assert {one["updated_by"] for one in seen} == {caller.key_id}
    assert rest["next_cursor"] is None


def test_of_many_who_change_one_version_one_wins(caller: Organization) -> None:
    def change(floor: int) -> int:
        with caller.client() as client:
            body = {"quality": {"floor": floor / 10}, "version": 0}
            return client.post(path_of(caller), json=body).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(change, range(1, 21)))
    assert sorted(statuses) == [200] + [409] * 19


def test_usage_is_of_the_calendar_day_of_the_policys_time_zone(caller: Organization) -> None:
    with caller.client() as client:
        client.post(path_of(caller), json={"timezone": "Asia/Kolkata"})
        usage = client.get("/governance/usage", params={"period": "day"}).json()["data"]
    assert usage["timezone"] == "Asia/Kolkata"
    assert usage["start"].endswith("T18:30:00Z")


def test_a_rotated_key_goes_on_for_its_overlap_and_its_successor_can_do_the_same(caller: Organization) -> None:
    limits = {"requests_per_minute": 50}
    with caller.client() as client:
        old = client.post(
            "/governance/api-keys", json={"name": "n", "scopes": ["analytics"], "rate_limits": limits}
        ).json()
        going_on = client.post(f"/governance/api-keys/{old['id']}/rotate", json={"overlap_seconds": 600}).json()
        last = client.post(f"/governance/api-keys/{going_on['id']}/rotate", json={"overlap_seconds": 0}).json()
        answers = [
            client.get("/metrics", headers={"authorization": f"Bearer {key['api_key']}"}).status_code
            for key in (old, going_on, last)
        ]
    assert (going_on["scopes"], going_on["rate_limits"], going_on["rotated_from"]) == (["analytics"], limits, old["id"])
    assert going_on["replaced"]["rotated_to"] == going_on["id"]
    assert answers == [200, 401, 200]


def test_a_suspension_holds_at_once_and_ends_at_once(surface: Installation, caller: Organization) -> None:
    operator = {"x-admin-secret": surface["edge"].environment["ASAHI_ADMIN_SECRET"]}
    with caller.client() as client:
        assert client.get("/models").status_code == 200
        client.post(f"/governance/organizations/{caller.id}/suspend", headers=operator)
        refused = client.get("/models")
        client.post(f"/governance/organizations/{caller.id}/resume", headers=operator)
        assert client.get("/models").status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "organization_suspended")
