"""`POST /v1/embeddings` in a whole installation: no key needed, each input computed once and counted."""

import asyncio
import math
import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

SMALL, LARGE, LOCAL = "text-embedding-3-small", "text-embedding-3-large", "all-MiniLM-L6-v2"
_NANOS_A_TOKEN = {SMALL: 20, LARGE: 130}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two edges in front of the same services."""
    with running_installation(tmp_path_factory.mktemp("embeddings"), edges=2) as installation:
        yield installation


@pytest.fixture
def control(running: Installation) -> SimulatorControl:
    """A simulator that has counted nothing yet."""
    simulator = SimulatorControl(running.url_of("simulator"))
    simulator.reset()
    return simulator


@pytest.fixture
def organization(running: Installation) -> Organization:
    """One whose cache is empty."""
    return running.signup("Embeddings")


def embed(organization: Organization, sent: Any, model: str = SMALL, **fields: Any) -> httpx2.Response:
    with organization.client() as client:
        headers = fields.pop("headers", {})
        return client.post("/v1/embeddings", json={"input": sent, "model": model, **fields}, headers=headers)


def records_of(organization: Organization) -> list[dict[str, Any]]:
    """Of its provider calls, once billing has them."""
    with organization.client() as client:
        assert client.get("/governance/usage").status_code == 200
    return call_records(organization.installation.data, organization.id)


def vectors(answer: httpx2.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [(one["object"], one["index"]) for one in data] == [("embedding", n) for n in range(len(data))]
    return [one["embedding"] for one in data]


def test_a_laptop_without_keys_embeds_and_meaning_is_near(organization: Organization) -> None:
    with organization.client() as client:
        answer = client.post("/v1/embeddings", json={"input": ["turn on 2FA", "enable 2FA", "bake a cake"]})
    on, enabled, cake = vectors(answer)
    assert len(on) == 384
    assert math.fsum(n * n for n in on) == pytest.approx(1, abs=1e-5)
    assert _product(on, enabled) > 0.7
    assert _product(on, cake) < 0.3
    body = answer.json()
    assert (body["model"], body["asahi"]["provider"], body["asahi"]["cost_usd"]) == (LOCAL, "local", 0)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert vectors(embed(organization, "turn on 2FA", "auto")) == [pytest.approx(on, abs=1e-3)]


def test_what_was_embedded_before_is_neither_asked_for_nor_paid_again(
    organization: Organization, control: SimulatorControl
) -> None:
    first = embed(organization, ["one apple", "two pears"])
    mixed = embed(organization, ["three plums", "one apple", "three plums"])
    again = embed(organization, "two pears")
    assert vectors(mixed)[1] == vectors(first)[0]
    assert vectors(mixed)[0] == vectors(mixed)[2]
    assert vectors(again) == [vectors(first)[1]]
    assert (first.headers["x-asahi-cache"], mixed.headers["x-asahi-cache"]) == ("miss", "miss")
    assert again.headers["x-asahi-cache"] == "hit; tier=1"
    assert "age" in again.headers
    calls = control.calls()
    assert [call["prompt_tokens"] for call in calls] == [first.json()["usage"]["prompt_tokens"], 2]
    records = records_of(organization)
    assert [record["cost_nanos"] for record in records] == [call["prompt_tokens"] * 20 for call in calls]
    told = [round(answer.json()["asahi"]["cost_usd"] * 1e9) for answer in (first, mixed, again)]
    assert told == [*(record["cost_nanos"] for record in records), 0]
    asahi = mixed.json()["asahi"]
    assert round(asahi["savings_usd"] * 1e9) == 20 * (mixed.json()["usage"]["prompt_tokens"] - 2)
    assert asahi["optimization_techniques"] == ["cache_tier_1"]
    assert "1 of 3 inputs" in asahi["routing_reason"]
    with organization.client() as client:
        summary = client.get("/analytics/cost-summary").json()["data"]
    assert round(summary["total_cost"] * 1e9) == sum(told)
    assert summary["total_requests"] == 3
    saved = [round(answer.json()["asahi"]["savings_usd"] * 1e9) for answer in (first, mixed, again)]
    assert round(summary["savings_by_technique"]["cache_tier_1"] * 1e9) == sum(saved)


def test_the_same_inputs_at_once_at_two_edges_make_one_call(
    organization: Organization, control: SimulatorControl
) -> None:
    control.rules({"mode": "slow", "params": {"first_token_ms": 400}})

    async def ask() -> list[httpx2.Response]:
        first, second = (organization.async_client(edge) for edge in ("edge", "edge2"))
        async with first, second:
            body = {"input": ["at once", "and again"], "model": SMALL}
            asking = [(first, second)[n % 2].post("/v1/embeddings", json=body) for n in range(40)]
            return list(await asyncio.gather(*asking))

    answers = asyncio.run(ask())
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(vectors(answer)) for answer in answers}) == 1
    assert len(control.calls()) == 1
    assert sum(answer.json()["asahi"]["cost_usd"] > 0 for answer in answers) == 1
    assert {answer.headers["x-asahi-cache"] for answer in answers} <= {"miss", "coalesced", "hit; tier=1"}


def test_organizations_share_nothing(running: Installation, control: SimulatorControl) -> None:
    for name in ("one", "two"):
        assert embed(running.signup(name), "a secret").headers["x-asahi-cache"] == "miss"
    assert len(control.calls()) == 2


@pytest.mark.parametrize(
    ("changed", "hits"),
    [
        ({"user": "somebody else"}, True),
        ({"encoding_format": "base64"}, True),
        ({"dimensions": 8}, False),
        ({"model": LARGE}, False),
        ({"a field of the future": 1}, False),
    ],
    ids=str,
)
def test_what_can_change_a_vector_is_part_of_its_key_and_nothing_else(
    organization: Organization, changed: dict[str, Any], hits: bool
) -> None:
    embed(organization, "the same text")
    fields = {"sent": "the same text", **changed}
    assert (embed(organization, **fields).headers["x-asahi-cache"] == "hit; tier=1") is hits


def test_numbers_base64_and_dimensions_say_the_same_vector(organization: Organization) -> None:
    (numbers,) = vectors(embed(organization, "forms"))
    (packed,) = vectors(embed(organization, "forms", encoding_format="base64"))
    assert list(struct.unpack("<1536f", b64decode(str(packed)))) == numbers
    assert len(vectors(embed(organization, "forms", dimensions=256))[0]) == 256


def test_tokens_are_inputs_where_the_model_takes_them(organization: Organization, control: SimulatorControl) -> None:
    one = embed(organization, [1, 2, 3])
    two = embed(organization, [[1, 2, 3], [4]])
    assert vectors(two)[0] == vectors(one)[0]
    assert [call["prompt_tokens"] for call in control.calls()] == [3, 1]
    refused = embed(organization, [1, 2, 3], LOCAL)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_by_model")
    assert refused.json()["error"]["param"] == "input"
    assert SMALL in refused.json()["error"]["message"]


def test_a_budget_that_blocks_holds_the_bound_and_refuses_what_is_over_it(
    organization: Organization, control: SimulatorControl
) -> None:
    with organization.client() as client:
        budget = {"per": "organization", "window": "day", "limit_usd": 0.00001, "action": "block"}
        made = client.post(f"/governance/policies/{organization.id}", json={"budgets": [budget]})
        assert made.status_code == 200, made.text
    assert embed(organization, "cheap").status_code == 200
    refused = embed(organization, "dear " * 2000)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert embed(organization, "free, for it is ours", LOCAL).status_code == 200
    assert len(control.calls()) == 1
    with organization.client() as client:
        (state,) = client.get("/governance/usage").json()["data"]["budgets"]
    assert round(state["spent"] * 1e9) == sum(r["cost_nanos"] for r in records_of(organization))


def test_a_key_that_is_kept_to_other_models_gets_nothing_even_from_the_cache(organization: Organization) -> None:
    embed(organization, ["open", "to all"])
    with organization.client() as client:
        made = client.post(
            "/governance/api-keys", json={"name": "local", "scopes": ["infer"], "allowed_models": [LOCAL]}
        )
        headers = {"authorization": f"Bearer {made.json()['api_key']}"}
        for sent in ("open", ["open", "to all"]):
            answer = client.post("/v1/embeddings", json={"input": sent, "model": SMALL}, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
        listed = client.get("/v1/models", headers=headers).json()["data"]
        everything = client.get("/v1/models").json()["data"]
    assert {SMALL, LARGE, LOCAL} <= {model["id"] for model in everything}
    assert LOCAL in {model["id"] for model in listed}
    assert SMALL not in {model["id"] for model in listed}


def test_more_than_the_local_model_reads_is_refused_with_its_place(organization: Organization) -> None:
    answer = embed(organization, ["short", "word " * 600], LOCAL)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    assert "input[1]" in error["message"]
    assert "256 tokens" in error["message"]


def test_a_provider_that_fails_at_first_is_asked_again_and_only_what_it_bills_is_paid(
    organization: Organization, control: SimulatorControl
) -> None:
    control.rules({"mode": "status", "times": 1, "params": {"status": 500}})
    answer = embed(organization, ["try", "again"])
    assert answer.status_code == 200, answer.text
    assert [call["status"] for call in control.calls()] == [500, 200]
    cost = round(answer.json()["asahi"]["cost_usd"] * 1e9)
    assert sum(record["cost_nanos"] for record in records_of(organization)) == cost


def test_a_request_with_a_key_of_its_own_is_made_once(organization: Organization, control: SimulatorControl) -> None:
    headers = {"idempotency-key": "once", "x-asahi-cache": "off"}
    first, second = (embed(organization, ["once", "only"], headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(control.calls()) == len(records_of(organization)) == 1


def test_what_is_erased_is_embedded_anew(organization: Organization, control: SimulatorControl) -> None:
    embed(organization, ["mine", "and mine"], user="alice")
    embed(organization, "theirs", user="bob")
    with organization.client() as client:
        erased = client.delete("/governance/users/alice/data")
        assert erased.status_code == 200, erased.text
    assert embed(organization, "mine").headers["x-asahi-cache"] == "miss"
    assert embed(organization, "theirs").headers["x-asahi-cache"] == "hit; tier=1"


def _product(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_without_the_cache_service_providers_embed_and_the_local_model_says_it_cannot(
    running: Installation, organization: Organization, control: SimulatorControl
) -> None:
    running["cache"].kill()
    try:
        answer = embed(organization, ["still", "here"])
        assert len(vectors(answer)) == 2
        assert answer.headers["x-asahi-degraded"] == "cache"
        local = embed(organization, "gone", LOCAL)
        assert (local.status_code, local.json()["error"]["code"]) == (503, "service_unavailable")
        assert "retry-after" in local.headers
    finally:
        running["cache"].start()
        running["cache"].wait_ready()
    assert len(control.calls()) == 1
