"""Alerts of budgets, from a call to a receiver that checks who sent them; and taking names out of the ledger."""

import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, running_installation

_WITHIN_S = 120.0


class _Receiver(ThreadingHTTPServer):
    """Takes alerts; answers the first try of each with 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, bytes]] = []
        """Signature and body of every try."""

    @property
    def url(self) -> str:
        """What the operator lists, and the policy names."""
        return f"http://127.0.0.1:{self.server_port}"

    def ids(self) -> list[str]:
        """Of the tries, in order."""
        return [json.loads(body)["id"] for _, body in self.posts]


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        known = json.loads(body)["id"] in self.server.ids()
        self.server.posts.append((self.headers["x-asahi-signature"], body))
        self.send_response(204 if known else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def receiving() -> Iterator[_Receiver]:
    receiver = _Receiver()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[_Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def running(receiver: _Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose operator lets alerts go to the receiver."""
    folder: Path = tmp_path_factory.mktemp("alerts")
    environment = {"billing": {"ASAHI_ALERT_TARGETS": receiver.url}}
    with running_installation(folder, environment=environment) as installation:
        yield installation


def until(found: Any) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not found():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def states(client: httpx2.Client) -> set[str]:
    """What became of the organisation's alerts."""
    return {alert["state"] for alert in client.get("/governance/alerts").json()["data"]["alerts"]}


def test_a_budget_that_is_used_up_is_told_once_signed_and_again_until_it_is_taken(
    running: Installation, receiver: _Receiver
) -> None:
    organization = running.signup()
    budget = {"per": "user", "window": "month", "limit_usd": 0.0000001, "action": "alert", "alert_at": [0.5, 1]}
    with organization.client() as client:
        policy = {"budgets": [budget], "alerts": {"webhook_url": f"{receiver.url}/alerts"}}
        assert client.post(f"/governance/policies/{organization.id}", json=policy).status_code == 200
        for prompt in ("What is owed?", "And by whom?"):
            assert client.post("/infer", json={"prompt": prompt, "user_id": "ada"}).status_code == 200
        until(lambda: len(receiver.posts) >= 4)
        told = client.get("/governance/alerts").json()["data"]
        until(
            lambda: {one["state"] for one in client.get("/governance/alerts").json()["data"]["alerts"]} == {"delivered"}
        )
    assert sorted(receiver.ids()) == sorted(2 * [*dict.fromkeys(receiver.ids())])
    assert len(set(receiver.ids())) == 2
    for signature, body in receiver.posts:
        at, digest = (part.partition("=")[2] for part in signature.split(","))
        expected = hmac.new(told["signing_secret"].encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert digest == expected
        assert json.loads(body)["budget"]["subject"] == "ada"


def test_an_end_user_who_is_erased_is_in_no_figure_and_no_sum_changes(running: Installation) -> None:
    organization = running.signup()
    with organization.client() as client:
        for prompt in ("Who am I?", "Who was I?"):
            assert client.post("/infer", json={"prompt": prompt, "user_id": "grace"}).status_code == 200

        def users() -> dict[str, float]:
            groups = client.get("/analytics/cost-breakdown", params={"group_by": "user"}).json()["data"]["groups"]
            return {group["value"]: group["cost"] for group in groups}

        until(lambda: users().get("grace", 0) > 0)
        until(lambda: client.get("/analytics/cost-summary").json()["data"]["total_requests"] == 2)
        before = client.get("/analytics/cost-summary").json()["data"]["total_cost"]
        receipt = client.delete("/governance/users/grace/data").json()
        assert {"store": "billing.names", "erased": 2} in receipt["erased"], receipt
        assert "grace" not in users()
        assert client.get("/analytics/cost-summary").json()["data"]["total_cost"] == before
        assert "grace" not in client.get("/analytics/export", params={"format": "jsonl"}).text


def test_what_routing_knows_of_an_end_user_who_is_erased_is_gone(running: Installation) -> None:
    organization = running.signup()
    with organization.client() as client:
        for name in ("hopper", "lovelace"):
            answer = client.post("/infer", json={"prompt": f"Who is {name}?", "user_id": name}).json()
            told = {"request_id": answer["request_id"], "rating": "up", "comment": f"{name} liked it"}
            assert client.post("/feedback", json=told).status_code == 200
        receipt = client.delete("/governance/users/hopper/data").json()
    assert {"store": "router.outcomes", "erased": 1} in receipt["erased"], receipt
    assert not any(kept["store"].startswith("router.") for kept in receipt["kept"])
    with closing(sqlite3.connect(running.data / "router.db")) as database:
        left = "\n".join(database.iterdump())
    assert "lovelace" in left
    assert "hopper" not in left
