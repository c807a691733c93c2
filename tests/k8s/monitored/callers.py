"""Callers: traffic of all sorts, and those that a fault needs."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any

import grpc
import httpx2

from asahi.inference.v1.inference_pb2 import InferRequest
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceStub
from asahi_core.errors import AsahiError
from tests.k8s.monitored.installation import GRPC, Monitored

_PAUSE_S = 0.1


class Traffic:
    """Requests of all sorts, one after the other, until it is ended: misses, hits, similar questions, streams, refused
    ones, and calls over gRPC. What becomes of them is for Prometheus to see."""

    def __init__(self, monitored: Monitored) -> None:
        self._monitored = monitored
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._over_http), threading.Thread(target=self._over_grpc)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _over_http(self) -> None:
        with self._monitored.client() as client:
            for number in count():
                if self._stop.wait(_PAUSE_S):
                    return
                for path, body in _bodies(number):
                    _ask(client, path, body)

    def _over_grpc(self) -> None:
        asyncio.run(self._call())

    async def _call(self) -> None:
        address = self._monitored.here.address("edge", GRPC["edge"])
        metadata = tuple(self._monitored.headers.items())
        async with grpc.aio.insecure_channel(address) as channel:
            stub = InferenceServiceStub(channel)
            for number in count():
                if self._stop.is_set():
                    return
                with suppress(grpc.aio.AioRpcError):  # a fault is what is looked at
                    await stub.Infer(InferRequest(prompt=f"Over gRPC {number}?"), metadata=metadata, timeout=5)
                await asyncio.sleep(_PAUSE_S * 5)


def _bodies(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    new = {"prompt": f"What is {number} times seven?", "max_tokens": 40}
    yield "/infer", new
    yield "/infer", new
    if number % 5 == 0:
        yield "/infer", {"prompt": f"what is {number} times SEVEN ?", "max_tokens": 40}
        yield (
            "/v1/chat/completions",
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Hi {number}"}]},
        )
        yield "/infer", {**new, "prompt": f"Stream {number}.", "stream": True}
        yield "/infer", {"prompt": ""}


def _ask(client: httpx2.Client, path: str, body: dict[str, Any]) -> None:
    with suppress(httpx2.TransportError):  # a fault is what is looked at
        client.post(path, json=body)


@contextmanager
def meanwhile(do: Callable[[], object]) -> Iterator[None]:
    """Does something again and again in a thread of its own; that it fails is the fault's nature."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            with suppress(AsahiError, AssertionError, httpx2.HTTPError, sqlite3.Error, ProcessLookupError):
                do()
            stop.wait(0.05)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def asked(
    monitored: Monitored, *, tags: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Iterator[None]:
    """New questions from four callers with one key, the first organisation's if no `headers` have another."""
    numbers = count()

    def ask() -> None:
        with monitored.client(headers) as client:
            for _ in range(20):
                body: dict[str, Any] = {"prompt": f"Tell me a story, the {next(numbers)}th.", "tags": tags or {}}
                client.post("/infer", json=body)

    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(meanwhile(ask))
        yield


def ask_in_vain(monitored: Monitored, prompt: str, *, wait_s: float = 30.0) -> None:
    """Asks, and takes it that nobody answers."""
    with suppress(httpx2.HTTPError), monitored.client() as client:
        client.post("/infer", json={"prompt": prompt}, timeout=wait_s)


def spend_beyond_budget(monitored: Monitored, number: int) -> dict[str, str]:
    """The headers of a new organisation whose budget's alerts are due."""
    organization, headers = monitored.signup()
    budget = {"per": "organization", "window": "day", "limit_usd": 0.0000001, "action": "alert", "alert_at": [0.5, 1]}
    policy = {"alerts": {"webhook_url": f"http://127.0.0.1:{monitored.webhooks}/"}, "budgets": [budget]}
    with monitored.client(headers) as client:
        answer = client.post(f"/governance/policies/{organization}", json=policy)
        assert answer.status_code == 200, answer.text
        client.post("/infer", json={"prompt": f"Beyond the budget {number}?"}).raise_for_status()
    return headers


def all_delivered(monitored: Monitored, headers: dict[str, str]) -> bool:
    """Whether all alerts of an organisation have reached their receiver."""
    with monitored.client(headers) as client:
        answer = client.get("/governance/alerts")
    if answer.status_code != 200:
        return False
    return {alert["state"] for alert in answer.json()["data"]["alerts"]} == {"delivered"}


def spend(monitored: Monitored) -> None:
    """Has something in the ledger."""
    with monitored.client() as client:
        client.post("/infer", json={"prompt": "What is a number?"})
        client.get("/analytics/cost-summary")  # waits until billing has the record


def need(monitored: Monitored, service: str, request_id: str) -> None:
    """Asks for something that a service has to look into its database for."""
    with monitored.client() as client:
        if service == "auth":
            monitored.signup()
        elif service == "billing":
            client.get("/analytics/recent-inferences?limit=1000")
        elif service == "cache":
            client.get("/v1/responses/resp_none")
        else:
            client.post("/feedback", json={"request_id": request_id, "rating": "up"})
