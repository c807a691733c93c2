"""Budgets of a whole installation: two edges, PostgreSQL, more callers than money."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.budgets import EDGES, Trouble, budgeted_environment, spend
from tests.installation import Installation, running_installation
from tests.postgresql import postgresql

_CALLERS = 30
_ANSWERS = 12


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """What billing keeps its books in."""
    with postgresql() as server:
        yield server.create_database("billing")


@pytest.fixture(scope="module")
def running(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own."""
    folder: Path = tmp_path_factory.mktemp("budgets")
    with running_installation(folder, edges=len(EDGES), environment=budgeted_environment(database)) as installation:
        yield installation


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Trouble(), id="undisturbed"),
        pytest.param(Trouble(leaving=0.3, failing=0.1, kills=1), id="with callers who leave, failures and a kill"),
    ],
)
def test_a_budget_is_used_and_never_passed(running: Installation, database: str, trouble: Trouble) -> None:
    outcome = asyncio.run(spend(running, database, callers=_CALLERS, answers=_ANSWERS, trouble=trouble))
    assert outcome.faults == [], str(outcome)


def test_edges_whose_billing_is_away_refuse_calls_under_a_budget_and_serve_others(running: Installation) -> None:
    limited, other = running.signup(), running.signup()
    budget = {"per": "organization", "window": "day", "limit_usd": 1, "action": "block"}
    with limited.client() as client, other.client() as free:
        path = f"/governance/policies/{limited.id}"
        assert client.post(path, json={"budgets": [budget]}).status_code == 200
        assert client.post("/infer", json={"prompt": "Who pays?"}).status_code == 200
        running["billing"].kill()
        try:
            refused = client.post("/infer", json={"prompt": "Who pays now?"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
            assert "retry-after" in refused.headers
            assert client.post("/infer", json={"prompt": "Who pays?"}).headers["x-asahi-cache"] == "hit; tier=1"
            assert free.post("/infer", json={"prompt": "Who pays now?"}).status_code == 200
            assert client.post(path, json={"fail_open_without_billing": True}).status_code == 200
            served = client.post("/infer", json={"prompt": "Who pays then?"})
            assert (served.status_code, served.headers["x-asahi-degraded"]) == (200, "billing")
        finally:
            running["billing"].start()
            running["billing"].wait_ready()
        left = client.get("/governance/usage").json()["data"]
        assert left["budget_left"] < 1
