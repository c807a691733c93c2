"""`/analytics/*`: the figures of what was really asked, and what a path refuses."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization
from tests.surface.rows import UNPRICED

PATHS = ("cost-breakdown", "trends", "latency-percentiles", "forecast", "anomalies", "recommendations", "export")


@pytest.fixture(scope="module")
def shared(surface: Installation) -> Organization:
    """An organisation of all tests that change nothing."""
    return surface.signup("Refused")


def dollars(text: str) -> Any:
    """JSON with exact amounts."""
    return json.loads(text, parse_float=Decimal)


def asked(client: httpx2.Client, count: int = 3) -> None:
    """Different questions, and the first one again; by two users, with tags."""
    for number in range(count):
        headers = {"x-asahi-tags": f"team={'search' if number % 2 else 'ads'},stage=test"}
        body = {"prompt": f"What is {number} + 1?", "user_id": f"user-{number % 2}"}
        assert client.post("/infer", json=body, headers=headers).status_code == 200
    assert client.post("/infer", json={"prompt": "What is 0 + 1?", "user_id": "user-0"}).status_code == 200


def figures(client: httpx2.Client, path: str, **parameters: str) -> Any:
    answer = client.get(f"/analytics/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return dollars(answer.text)["data"]


def test_breakdowns_of_every_kind_sum_to_the_summary(caller: Organization) -> None:
    with caller.client() as client:
        asked(client)
        summary = figures(client, "cost-summary", period="1h")
        for group_by in ("model", "provider", "task_type", "user", "api_key"):
            found = figures(client, "cost-breakdown", period="1h", group_by=group_by)
            assert found["group_by"] == group_by
            assert sum(group["cost"] for group in found["groups"]) == summary["total_cost"] > 0
            assert found["total"]["requests"] == summary["total_requests"] == 4
            assert found["total"]["savings"] == summary["total_savings"]
            assert found["total"]["cache_hits"] == 1
        users = figures(client, "cost-breakdown", period="day", group_by="user")
        assert {group["value"] for group in users["groups"]} == {"user-0", "user-1"}
        tags = figures(client, "cost-breakdown", group_by="tag:team")
        assert {group["value"]: group["requests"] for group in tags["groups"]} == {"ads": 2, "search": 1}
        one = figures(client, "cost-breakdown", group_by="user", limit="1")
        assert (len(one["groups"]), one["rest_groups"]) == (1, 1)
        assert one["groups"][0]["cost"] + one["rest"]["cost"] == one["total"]["cost"]


def test_trends_have_every_interval_and_sum_to_the_summary(caller: Organization) -> None:
    with caller.client() as client:
        asked(client)
        summary = figures(client, "cost-summary", period="7d")
        for interval, least in (("hour", 168), ("day", 7), ("week", 1)):
            trend = figures(client, "trends", period="7d", interval=interval)
            assert least <= len(trend["points"]) <= least + 1
            assert sum(point["value"] for point in trend["points"]) == summary["total_cost"]
        requests = figures(client, "trends", metric="requests")
        assert requests["interval"] == "hour"
        assert sum(point["value"] for point in requests["points"]) == 4
        latency = figures(client, "trends", metric="latency", period="7d")
        assert latency["points"][0]["value"] is None
        assert latency["points"][-1]["value"] > 0


def test_percentiles_are_by_model_and_tier(caller: Organization) -> None:
    with caller.client() as client:
        assert figures(client, "latency-percentiles")["overall"] is None
        asked(client)
        found = figures(client, "latency-percentiles", period="1h")
    assert found["overall"]["requests"] == 4
    assert {group["cache_tier"] for group in found["groups"]} == {0, 1}
    assert sum(group["requests"] for group in found["groups"]) == 4
    for group in found["groups"]:
        assert 0 < group["p50"] <= group["p75"] <= group["p90"] <= group["p95"] <= group["p99"]


def test_an_export_has_every_row_in_both_formats(caller: Organization) -> None:
    with caller.client() as client:
        asked(client)
        client.post("/infer", json={"prompt": "Is this a formula?", "user_id": "=1+1"})
        summary = figures(client, "cost-summary")
        lines = client.get("/analytics/export", params={"format": "jsonl"})
        table = client.get("/analytics/export", params={"format": "csv", "period": "24h"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    rows = [dollars(line) for line in lines.text.splitlines()]
    assert len(rows) == 5
    assert sum(row["cost"] for row in rows) == summary["total_cost"]
    assert rows == sorted(rows, key=lambda row: row["timestamp"])
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    records = list(csv.DictReader(io.StringIO(table.text)))
    assert list(records[0]) == list(rows[0])
    assert [Decimal(record["cost"]) for record in records] == [row["cost"] for row in rows]
    assert json.loads(records[0]["tags"]) == {"team": "ads", "stage": "test"}
    assert (rows[-1]["user_id"], records[-1]["user_id"]) == ("=1+1", "'=1+1")


def test_an_empty_export_is_a_header_or_nothing(caller: Organization) -> None:
    with caller.client() as client:
        assert client.get("/analytics/export").text == ""
        assert client.get("/analytics/export?format=csv").text.startswith("request_id,attempt,")


def test_little_history_is_said_and_nothing_is_made_up(caller: Organization) -> None:
    with caller.client() as client:
        asked(client)
        forecast = figures(client, "forecast", horizon="7d")
        anomalies = figures(client, "anomalies")
    assert (forecast["spend"], forecast["days"], forecast["budgets"]) == (None, [], [])
    assert forecast["history_hours"] < 48
    assert (anomalies["anomalies"], anomalies["enough_history"]) == ([], False)


def test_an_unknown_price_and_a_cache_that_is_off_are_recommended_against(caller: Organization) -> None:
    with caller.client() as client:
        body = {"prompt": "What do you cost?", "routing_mode": "explicit", "model_override": UNPRICED}
        assert client.post("/infer", json=body).status_code == 200
        assert client.post(f"/governance/policies/{caller.id}", json={"cache": {"tiers": []}}).status_code == 200
        recommended = figures(client, "recommendations")
        found = {one["kind"]: one for one in recommended["recommendations"]}
        routing = recommended["routing"]
        assert (routing["state"], routing["decisions"], routing["controls"]) == ("insufficient_evidence", 0, [])
        assert "POST /feedback" in routing["says"]
        assert UNPRICED in found["unknown_price"]["title"]
        assert found["unknown_price"]["saving"] is None
        policy = found["enable_cache"]["policy"]
        assert policy == {"cache": {"tiers": [1]}}
        applied = client.post(f"/governance/policies/{caller.id}", json=policy)
        assert applied.status_code == 200, applied.text


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("cost-breakdown?group_by=colour", "group_by"),
        ("cost-breakdown?group_by=tag:", "group_by"),
        ("cost-breakdown?limit=0", "limit"),
        ("cost-breakdown?perod=1h", "perod"),
        ("cost-breakdown?period=1h&period=24h", "period"),
        ("trends?metric=weight", "metric"),
        ("trends?interval=minute", "interval"),
        ("trends?from=2020-01-01T00:00:00Z", "start_time"),
        ("latency-percentiles?period=yesterday", "period"),
        ("forecast?horizon=91d", "horizon"),
        ("forecast?horizon=soon", "horizon"),
        ("forecast?period=1h", "period"),
        ("anomalies?from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "from"),
        ("recommendations?to=2026-01-01T00:00:00Z", "from"),
        ("export?format=xml", "format"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(shared: Organization, query: str, param: str) -> None:
    with shared.client() as client:
        answer = client.get(f"/analytics/{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_organization_sees_nothing_of_another(surface: Installation, caller: Organization) -> None:
    with surface.signup("Other").client() as other, caller.client() as client:
        asked(client)
        assert figures(other, "cost-breakdown")["groups"] == []
        assert other.get("/analytics/export").text == ""
        assert figures(other, "latency-percentiles")["overall"] is None


@pytest.mark.parametrize("path", PATHS)
def test_a_key_needs_the_scope(shared: Organization, path: str) -> None:
    with shared.client() as client:
        made = client.post("/governance/api-keys", json={"name": "asker", "scopes": ["infer"]}).json()
        key = made["api_key"]
        refused = client.get(f"/analytics/{path}", headers={"authorization": f"Bearer {key}"})
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "insufficient_scope"
