"""Acceptance of reconciliation: real traffic through all five services, held against what the simulator charged."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import ADMIN_SECRET, Installation, Organization, running_installation

_MODELS = (
    *("gpt-6.1-sol", "gpt-6-sol", "gpt-6.1-terra", "gpt-6-luna", "gpt-5.6-sol", "gpt-5.5", "gpt-5.4", "gpt-5.4-mini"),
    *("gpt-5.2", "gpt-5.1", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"),
    *("gpt-4o", "gpt-4o-mini", "o4-mini", "o3-mini"),
)
_CLAUDE = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5")
_LONG = "The manual says a great deal about bills, and this is part of it. " * 120
REPORTS = {"openai": "/v1/organization/costs", "anthropic": "/v1/organizations/cost_report"}


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organization]:
    """An organisation that has asked many models, some twice with the same long beginning."""
    with running_installation(tmp_path_factory.mktemp("reconciliation")) as installation:
        organization = installation.signup()
        with organization.client() as client:
            for model in (*_MODELS, *_CLAUDE):
                for number in range(3):
                    body = {"prompt": f"{_LONG}{number}", "model_override": model, "routing_mode": "explicit"}
                    answer = client.post("/infer", json=body)
                    assert answer.status_code == 200, answer.text
            client.post("/infer", json={"prompt": "What is a bill?"})
            client.post("/infer", json={"prompt": "What is a bill?"})
        yield organization


def exactly(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def report(installation: Installation, of: str) -> Any:
    """What the simulator says that it charged."""
    return exactly(httpx2.get(installation.url_of("simulator") + REPORTS[of], timeout=30.0, verify=False).text)


def imported(organization: Organization, page: Any, **query: str) -> Any:
    """The comparison that an import answers."""
    with organization.client() as client:
        answer = client.post(
            "/governance/reconciliations",
            params={"provider": "simulator", **query},
            content=json.dumps(page, default=str),
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 200, answer.text
    return exactly(answer.text)["data"]


def rows(page: Any) -> list[Any]:
    return [row for bucket in page["data"] for row in bucket["results"]]


@pytest.mark.parametrize("of", REPORTS)
def test_all_traffic_is_captured_and_nothing_differs(traffic: Organization, of: str) -> None:
    found = imported(traffic, report(traffic.installation, of))
    compared = found["reconciliation"]
    assert found["format"] == of
    assert compared["capture_rate_percent"] == 100
    assert compared["difference"] == 0
    assert compared["reported"] == compared["ledger"] > 0
    assert compared["worst"] == []
    assert compared["agreeing_lines"] == compared["lines"] == len(rows(report(traffic.installation, of)))
    assert (compared["orphans"], compared["price_unknown_calls"]) == (0, 0)


def test_rows_that_were_removed_and_a_price_that_was_changed_are_named_and_nothing_else(traffic: Organization) -> None:
    page = report(traffic.installation, "openai")
    whole = rows(page)
    removed = whole[7 :: max(1, len(whole) // max(1, round(len(whole) / 100)))]
    changed = next(row for row in whole if row not in removed and row["line_item"].endswith("cached input"))
    changed["amount"]["value"] *= 2
    for bucket in page["data"]:
        bucket["results"] = [row for row in bucket["results"] if row not in removed]
    compared = imported(traffic, page)["reconciliation"]
    named = {(f"{line['model']} {line['item']}", line["fault"]) for line in compared["worst"]}
    items = {"input": "input", "cached input": "cache_read", "output": "output"}

    def name(row: Any) -> str:
        model, _, item = row["line_item"].partition(", ")
        return f"{model} {items[item]}"

    assert named == {(name(row), "missing_in_report") for row in removed} | {(name(changed), "price")}
    assert compared["differing_lines"] == len(removed) + 1
    assert compared["price_difference"] == changed["amount"]["value"] / 2
    assert compared["capture_rate_percent"] == 100


def test_a_call_that_went_around_asahi_is_named(traffic: Organization) -> None:
    body = {"model": "gpt-5.6-luna", "messages": [{"role": "user", "content": "Nobody sees this."}]}
    url = traffic.installation.url_of("simulator")
    httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=30.0, verify=False).raise_for_status()
    compared = imported(traffic, report(traffic.installation, "openai"))["reconciliation"]
    assert {(line["model"], line["fault"]) for line in compared["worst"]} == {("gpt-5.6-luna", "missing_in_ledger")}
    assert compared["missing_in_ledger"] == compared["difference"] > 0
    assert 99 < compared["capture_rate_percent"] < 100


def test_the_analytics_path_compares_the_newest_reports_of_its_own_organization(traffic: Organization) -> None:
    for of in REPORTS:
        imported(traffic, report(traffic.installation, of))
    stranger = traffic.installation.signup()
    with traffic.client() as client, stranger.client() as other:
        mine = exactly(client.get("/analytics/reconciliation", params={"period": "24h"}).text)["data"]
        theirs = exactly(other.get("/analytics/reconciliation").text)["data"]
    assert {one["format"] for one in mine["reports"]} == set(REPORTS)
    assert mine["reported"] > 0
    assert (theirs["lines"], theirs["reports"], theirs["capture_rate_percent"]) == (0, [], None)


def test_the_operator_imports_a_report_of_the_whole_installation(traffic: Organization) -> None:
    headers = {"x-admin-secret": ADMIN_SECRET, "content-type": "application/json"}
    answer = httpx2.post(
        f"{traffic.installation.url}/governance/reconciliations?provider=simulator",
        content=json.dumps(report(traffic.installation, "anthropic"), default=str),
        headers=headers,
        timeout=60.0,
        verify=False,
    )
    found = exactly(answer.text)["data"]
    assert (found["organization_id"], found["reconciliation"]["differing_lines"]) == (None, 0)
    audit = httpx2.get(
        f"{traffic.installation.url}/governance/audit", headers=headers, timeout=30.0, verify=False
    ).json()["data"]
    assert "reconciliation.import" in {entry["action"] for entry in audit}


def test_the_command_shows_the_figures_and_fails_where_they_differ(traffic: Organization, tmp_path: Path) -> None:
    page = report(traffic.installation, "anthropic")
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(page, default=str))
    rows(page)[0]["amount"] = "1"
    bad.write_text(json.dumps(page, default=str))
    agreeing = _command(traffic, good)
    assert (agreeing.returncode, agreeing.stderr) == (0, "")
    assert "100.00 %" in agreeing.stdout
    differing = _command(traffic, bad)
    assert differing.returncode == 1
    assert "do not agree; lines that differ: 1" in differing.stderr
    assert "amount" in differing.stdout


def _command(organization: Organization, file: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ASAHI_URL": organization.installation.url, "ASAHI_API_KEY": organization.key}
    command = [sys.executable, "-m", "asahi_cli", "reconcile", str(file), "--provider", "simulator"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
