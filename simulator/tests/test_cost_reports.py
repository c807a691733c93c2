"""The simulator tells what it charged as providers do."""

from decimal import Decimal
from typing import Any

from simulator.tests.running import RunningSimulator, running_simulator

_ASK = {"messages": [{"role": "user", "content": "What is a bill?"}], "max_tokens": 50}


def _rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for bucket in page["data"] for row in bucket["results"]]


def test_openais_costs_are_the_tokens_at_their_prices_by_key(simulator: RunningSimulator) -> None:
    usage = simulator.post("/v1/chat/completions", {"model": "gpt-4o", **_ASK}, authorization="Bearer a").json()[
        "usage"
    ]
    simulator.post("/v1/chat/completions", {"model": "gpt-4o", **_ASK}, authorization="Bearer b")
    simulator.post("/v1/messages", {"model": "claude-haiku-4-5", **_ASK})
    rows = _rows(simulator.get("/v1/organization/costs").json())
    assert len({row["api_key_id"] for row in rows}) == 2
    assert {row["line_item"] for row in rows} == {"gpt-4o, input", "gpt-4o, output"}
    first = next(row for row in rows if row["line_item"] == "gpt-4o, input")
    assert first["quantity"] == usage["prompt_tokens"]
    assert Decimal(str(first["amount"]["value"])) == usage["prompt_tokens"] * Decimal("2.5") / 1_000_000


def test_anthropics_report_is_in_cents(simulator: RunningSimulator) -> None:
    usage = simulator.post("/v1/messages", {"model": "claude-haiku-4-5", **_ASK}).json()["usage"]
    rows = _rows(simulator.get("/v1/organizations/cost_report").json())
    amounts = {row["token_type"]: Decimal(row["amount"]) for row in rows}
    assert amounts["output_tokens"] == usage["output_tokens"] * Decimal(5) / 10_000
    assert {row["model"] for row in rows} == {"claude-haiku-4-5"}


def test_days_are_chosen_by_their_beginning(simulator: RunningSimulator) -> None:
    simulator.post("/v1/chat/completions", {"model": "gpt-4o", **_ASK})
    (bucket,) = simulator.get("/v1/organization/costs").json()["data"]
    begin, end = bucket["start_time"], bucket["end_time"]
    assert end - begin == 86_400
    assert simulator.get(f"/v1/organization/costs?start_time={begin}&end_time={end}").json()["data"]
    assert not simulator.get(f"/v1/organization/costs?start_time={end}").json()["data"]
    assert simulator.get("/v1/organization/costs?start_time=soon").status_code == 400


def test_calls_that_are_not_kept_are_charged_for_all_the_same() -> None:
    with running_simulator(ASAHI_SIMULATOR_CALLS_KEPT="1") as simulator:
        usages = [simulator.post("/v1/chat/completions", {"model": "gpt-4o", **_ASK}).json()["usage"] for _ in range(3)]
        rows = _rows(simulator.get("/v1/organization/costs").json())
        told = {row["line_item"]: row["quantity"] for row in rows}
        assert told["gpt-4o, output"] == sum(usage["completion_tokens"] for usage in usages)
