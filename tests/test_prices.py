"""Prices of an organisation's own: set once, charged by every edge, checked by billing, counted on by the router."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.installation import ADMIN_SECRET, Installation, Organization
from tests.ledger import call_records
from tests.test_first_request import dollars

_GUARD_S = 120.0
_MODEL = "gpt-4o"


def put(organization: Organization, *prices: dict[str, Any], **fields: Any) -> httpx2.Response:
    with organization.client() as client:
        return client.put(f"/governance/prices/{organization.id}", json={"prices": list(prices), **fields})


def ask(organization: Organization, text: str, edge: str = "edge", **fields: Any) -> Any:
    body = {"prompt": text, "routing_mode": "explicit", "model_override": _MODEL, **fields}
    with organization.client(edge) as client:
        answer = client.post("/infer", json=body)
    assert answer.status_code == 200, answer.text
    return dollars(answer.text)


def listed(answer: Any) -> Decimal:
    """What the answer costs at the list price of gpt-4o."""
    fresh = answer["tokens_input"] - answer["tokens_input_cached"]
    cost = fresh * Decimal("2.5") + answer["tokens_input_cached"] * Decimal("1.25") + answer["tokens_output"] * 10
    return Decimal(cost) / 1_000_000


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GUARD_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_discount_is_charged_at_every_edge_within_seconds_and_billing_agrees(installation: Installation) -> None:
    organization, stranger = installation.signup(), installation.signup()
    before = ask(organization, "Before the discount?")
    assert before["cost"] == listed(before)
    answer = put(organization, {"models": "gpt-4o*", "factor": 0.5})
    assert answer.status_code == 200, answer.text
    here = ask(organization, "After the discount, here?")
    assert here["cost"] == listed(here) / 2
    asked = iter(range(1000))
    began = time.monotonic()

    def cheaper_there() -> bool:
        there = ask(organization, f"After the discount, there? {next(asked)}", "edge2")
        return bool(there["cost"] == listed(there) / 2)

    until(cheaper_there)
    assert time.monotonic() - began < 5
    other = ask(stranger, "What do others pay?")
    assert other["cost"] == listed(other)
    with organization.client() as client, organization.client("edge2") as there:
        for one in (client, there):
            one.get("/analytics/cost-summary")
    versions = {
        record["price_version"].partition(" + ")[2] for record in call_records(installation.data, organization.id)
    }
    assert versions == {"", "prices 1"}


def test_a_hit_is_compared_at_the_organizations_own_price(installation: Installation) -> None:
    organization = installation.signup()
    put(organization, {"models": "*", "factor": 0.1})
    miss = ask(organization, "What is a hit worth?")
    hit = ask(organization, "What is a hit worth?")
    assert (hit["cache_tier"], hit["cost"]) == (1, 0)
    assert hit["cost_original"] == miss["cost"] == listed(miss) / 10


def test_the_router_counts_on_an_organizations_own_prices(installation: Installation) -> None:
    organization = installation.signup()
    free = {"models": "gpt-6.1-sol", "rates": {"input": 0, "output": 0}}
    assert put(organization, free).status_code == 200
    asked = iter(range(1000))

    def chosen() -> bool:
        with organization.client() as client:
            answer = client.post("/quote", json={"prompt": f"Which model is cheapest now? {next(asked)}"}).json()
        return "gpt-6.1-sol" in str(answer)[:200]

    until(chosen)


def test_prices_are_versioned_conditional_audited_and_taken_back(installation: Installation) -> None:
    organization = installation.signup()
    path = f"/governance/prices/{organization.id}"
    november = {"models": "gpt-6*", "factor": 0.85, "since": "2026-11-01", "until": "2026-12-01"}
    agreed = {"models": "llama-*", "rates": {"input": 0.1, "output": 0.25}, "service_tier": "batch"}
    with organization.client() as client:
        empty = client.get(path)
        assert (empty.json()["data"]["version"], empty.json()["data"]["prices"]) == (0, [])
        first = client.put(path, json={"prices": [november, agreed]}, headers={"if-match": empty.headers["etag"]})
        assert first.headers["etag"] == '"1"'
        data = client.get(path).json()["data"]
        assert data["updated_by"] == organization.key_id
        assert data["prices"][0] == {**november, "rates": None, "service_tier": None}
        assert data["prices"][1]["rates"] == {
            "input": 0.1, "output": 0.25, "cache_read": 0.1, "cache_write_5m": 0.1, "cache_write_1h": 0.1
        }  # fmt: skip
        stale = client.put(path, json={"prices": [], "version": 0})
        assert (stale.status_code, stale.json()["error"]["code"]) == (409, "version_conflict")
        assert client.put(path, json={"prices": [november, agreed]}).headers["etag"] == '"1"'
        assert client.put(path, json={"prices": []}).headers["etag"] == '"2"'
        audit = client.get("/governance/audit").json()["data"]
    assert [entry["outcome"] for entry in audit if entry["action"] == "prices.set"].count("done") == 3


@pytest.mark.parametrize(
    ("price", "param"),
    [
        ({"models": "*"}, "prices[0]"),
        ({"models": "*", "factor": 1, "rates": {"input": 1, "output": 1}}, "prices[0]"),
        ({"models": "*", "factor": 11}, "prices[0].factor"),
        ({"models": "*", "factor": -0.5}, "prices[0].factor"),
        ({"models": "", "factor": 1}, "prices[0].models"),
        ({"models": "*", "rates": {"input": -1, "output": 1}}, "prices[0].rates.input"),
        ({"models": "*", "rates": {"input": 0.00000000001, "output": 1}}, "prices[0].rates.input"),
        ({"models": "*", "factor": 1, "since": "2026-13-01"}, "prices[0].since"),
        ({"models": "*", "factor": 1, "since": "2026-02-02", "until": "2026-02-01"}, "prices[0]"),
        ({"models": "*", "factor": 0.0000000000000001}, "prices[0].factor"),
        ({"models": "*", "factor": 1, "service_tier": "slow"}, "prices[0].service_tier"),
        ({"models": "*", "faktor": 1}, "prices[0].faktor"),
    ],
)
def test_an_impossible_price_is_refused_with_its_field(
    installation: Installation, price: dict[str, Any], param: str
) -> None:
    answer = put(installation.signup(), price)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_the_operator_sets_prices_of_any_organization_and_a_stranger_of_none(installation: Installation) -> None:
    organization, stranger = installation.signup(), installation.signup()
    body = {"prices": [{"models": "*", "factor": 0.9}]}
    url = f"{installation.url}/governance/prices/{organization.id}"
    headers = {"x-admin-secret": ADMIN_SECRET}
    assert (
        httpx2.put(url, json=body, headers=headers, timeout=30.0, verify=False).json()["data"]["updated_by"]
        == "operator"
    )
    with stranger.client() as client:
        assert client.put(f"/governance/prices/{organization.id}", json=body).status_code == 403


def test_a_wrong_price_is_mended_by_the_operator_and_by_nobody_else(installation: Installation) -> None:
    organization = installation.signup()
    answer = ask(organization, "What if the price is wrong?")
    with organization.client() as client:
        assert dollars(client.get("/analytics/cost-summary").text)["data"]["total_cost"] == answer["cost"]
    put(organization, {"models": "*", "factor": 0.5})
    now = datetime.now(UTC)
    times = [(now - timedelta(hours=1)).isoformat(), now.isoformat()]
    body = {"organization_id": organization.id, "start": times[0], "end": times[1]}
    with organization.client() as client:
        assert client.post("/governance/repricings", json=body).status_code == 403
    environment = {**os.environ, "ASAHI_URL": installation.url, "ASAHI_ADMIN_SECRET": ADMIN_SECRET}
    command = [sys.executable, "-m", "asahi_cli", "reprice", organization.id, *times]
    for options, told in (((), "would be booked"), (("--book",), "booked"), (("--book",), "0 cost otherwise")):
        done = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert told in done.stdout
    with organization.client() as client:
        summary = dollars(client.get("/analytics/cost-summary").text)["data"]
        assert summary["total_cost"] == answer["cost"] / 2
        assert sum(summary["savings_by_technique"].values()) == summary["total_savings"]
        acts = [entry for entry in client.get("/governance/audit").json()["data"] if entry["action"] == "usage.reprice"]
    assert {entry["actor"] for entry in acts} == {"operator"}
