"""`/health` tells the truth about every part within two seconds: whether it is killed, frozen or back."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, Process, running_installation

LOOKS, BETWEEN_LOOKS_S = 20, 0.1
"""Two seconds, however long a busy machine takes to let anybody look."""
GRACE_S = 6.0
GUARD_S = 120.0
ONE_MODEL = {"routing_mode": "explicit", "model_override": "gpt-4.1-nano"}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation to break, whose keys are trusted for seconds without auth."""
    environment = {
        "edge": {"ASAHI_AUTH_GRACE": str(GRACE_S), "ASAHI_AUTH_FRESH_SECONDS": "1"},
        "router": {"ASAHI_RETRIES": "0"},
    }
    with running_installation(tmp_path_factory.mktemp("health"), environment=environment) as running:
        yield running


@pytest.fixture
def asker(broken: Installation) -> Organization:
    return broken.signup("Health")


def freeze(process: Process) -> None:
    process.signal(SIGSTOP)


def health(installation: Installation) -> tuple[int, dict[str, Any]]:
    """Status and body of `/health`."""
    answer = httpx2.get(f"{installation.url}/health", timeout=GUARD_S, verify=False)
    return answer.status_code, answer.json()


def wait_for(installation: Installation, status: int, **states: str) -> dict[str, Any]:
    """The first body that has these states; fails if it does not come in time."""
    for _ in range(LOOKS):
        code, body = health(installation)
        seen = {name: component["status"] for name, component in body["components"].items()}
        if code == status and all(seen[name] == state for name, state in states.items()):
            return body
        time.sleep(BETWEEN_LOOKS_S)
    raise AssertionError(f"{code} {body}")


def ask(asker: Organization, prompt: str) -> int:
    with asker.client() as client:
        return client.post("/infer", json={"prompt": prompt, **ONE_MODEL}).status_code


def mend(process: Process) -> None:
    """Whatever was done to it, it runs again and serves."""
    if process.running:
        process.signal(SIGCONT)
    else:
        process.start()
    process.wait_ready()


def test_all_is_healthy_where_all_runs(broken: Installation) -> None:
    loaded_by = time.monotonic() + GUARD_S
    while health(broken)[1]["components"]["semantic"]["status"] != "healthy":
        assert time.monotonic() < loaded_by, "the embedding model is not loaded"
        time.sleep(0.1)
    body = wait_for(broken, 200)
    assert body["status"] == "healthy"
    assert set(body["components"]) == {"edge", "auth", "router", "cache", "billing", "providers", "semantic"}
    assert "simulated" in body["components"]["providers"]["detail"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A service that is gone, and what is to be told."""

    name: str
    state: str
    status: int
    break_it: Callable[[Process], None]

    def __str__(self) -> str:
        return f"{self.name}, {self.break_it.__name__}"


LOSSES = [
    Loss(name, state, status, break_it)
    for name, state, status in (("cache", "degraded", 200), ("billing", "degraded", 200), ("router", "unhealthy", 503))
    for break_it in (Process.kill, freeze)
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_part_that_is_gone_is_told_and_503_only_where_nothing_new_can_be_answered(
    broken: Installation, asker: Organization, loss: Loss
) -> None:
    assert ask(asker, "warm") == 200
    loss.break_it(broken[loss.name])
    try:
        body = wait_for(broken, loss.status, **{loss.name: loss.state})
        assert body["status"] == loss.state
        assert "does not answer" in body["components"][loss.name]["detail"]
        others = {part for part, component in body["components"].items() if component["status"] == "healthy"}
        assert others >= {"edge", "auth", "router", "cache", "billing"} - {loss.name}
        if loss.break_it is not freeze or loss.status == 200:
            assert ask(asker, f"asked without {loss}") == loss.status
        assert httpx2.get(f"{broken.url}/health/live", verify=False).status_code == 200
        assert httpx2.get(f"{broken.url}/health/ready", verify=False).status_code == 200
    finally:
        mend(broken[loss.name])
    assert wait_for(broken, 200, **{loss.name: "healthy"})["status"] == "healthy"


@pytest.mark.parametrize("break_it", [Process.kill, freeze])
def test_without_auth_inference_is_served_as_long_as_any_key_is_trusted(
    broken: Installation, asker: Organization, break_it: Callable[[Process], None]
) -> None:
    assert ask(asker, "warm") == 200
    break_it(broken["auth"])
    try:
        body = wait_for(broken, 200, auth="degraded")
        assert "only keys that were seen lately" in body["components"]["auth"]["detail"]
        assert ask(asker, f"asked without auth ({break_it.__name__})") == 200
        time.sleep(GRACE_S)
        body = wait_for(broken, 503, auth="unhealthy")
        assert body["status"] == "unhealthy"
        if break_it is not freeze:
            assert ask(asker, "too late") == 503
    finally:
        mend(broken["auth"])
    wait_for(broken, 200, auth="healthy")


def test_models_that_are_left_alone_because_they_fail_are_named(broken: Installation, asker: Organization) -> None:
    broken["simulator"].kill()
    try:
        assert {ask(asker, f"to nobody, {number}") for number in range(5)} == {503}
        body = wait_for(broken, 200, providers="degraded")
        assert "gpt-4.1-nano" in body["components"]["providers"]["detail"]
    finally:
        mend(broken["simulator"])


def test_an_edge_that_cannot_keep_its_books_says_so_and_serves_nothing(broken: Installation) -> None:
    with running_installation(
        broken.data.parent / "full", environment={"edge": {"ASAHI_SPOOL_MAX_BYTES": str(1024 * 1024)}}
    ) as full:
        asker = full.signup()
        full["billing"].kill()
        heavy = {"x-asahi-tags": ",".join(f"tag{number}={'x' * 128}" for number in range(10))}
        with asker.client() as client:
            statuses = [
                client.post("/infer", headers=heavy, json={"prompt": f"{number}", **ONE_MODEL}).status_code
                for number in range(1000)
            ]
        assert statuses[0] == 200
        assert statuses[-1] == 503
        body = wait_for(full, 503, edge="unhealthy", billing="degraded")
        assert "usage" in body["components"]["edge"]["detail"].lower()
