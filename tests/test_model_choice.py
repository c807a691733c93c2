"""Which model answers, and why, or the exact refusal: every way to ask, on `/infer` and each path of `/v1`.

The catalog has round figures, so that each row says what decides. What is expected of a model's speed is learned from
its answers: the models that are to be too slow are never called but where a row says so.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, Organization, running_installation
from tests.simulator import SimulatorControl

WEAK, FAIR, GOOD, PEER, BASELINE = "gpt-4.1-nano", "gpt-4o-mini", "gpt-5.6-luna", "gpt-6.1-terra", "gpt-6.1-sol"
"""In the order of their prices, and of their qualities."""
SLOW, SLOWER, SLOWEST, ASKED_SLOWLY = "gpt-5-nano", "gpt-5.4-nano", "gpt-4.1-mini", "claude-haiku-5-5"
"""Cheap and good, and never called: SLOW for 'instant', SLOWER for 'fast', SLOWEST for 'normal'; but the last."""
QUICK = "gpt-5.4-mini"
"""Good, quick and dearer than they are."""
TURNING = "gpt-6-luna"
"""Cheap and quick, until it turns slow."""
KINDS = ("chat", "knowledge", "code", "math", "extraction", "summarization", "translation", "tool_use")
FIGURES: dict[str, tuple[float, int]] = {
    WEAK: (3.2, 100), FAIR: (3.7, 100), GOOD: (4.2, 100), PEER: (4.78, 100), BASELINE: (4.8, 100), QUICK: (4.6, 100),
    SLOW: (4.6, 900), SLOWER: (4.6, 2000), SLOWEST: (4.6, 9000), ASKED_SLOWLY: (4.6, 9000), TURNING: (4.6, 100),
}  # fmt: skip
"""Quality, and milliseconds to the first token."""
BY_QUALITY = (WEAK, FAIR, GOOD, PEER, BASELINE)
PATHS = ("/infer", "/v1/chat/completions", "/v1/messages", "/v1/responses")


@dataclass(frozen=True, slots=True)
class Row:
    """One way to ask. `routing` has the fields of `/infer`, `model` what `/v1` says instead, where that can say it."""

    name: str
    routing: dict[str, Any]
    words: str
    """In the reason, or in the refusal."""
    model: str = ""
    """Of the answer; empty: it is refused."""
    allowed: tuple[str, ...] = BY_QUALITY
    status: int = 200
    code: str = ""
    param: str | None = None
    """The field in the way, as `/v1` calls it."""
    v1_model: str | None = None
    """What `/v1` calls it; None: the model is left out."""
    v1_routing: dict[str, Any] = field(default_factory=dict)
    """What it says beside that in `x-asahi-routing`."""


def guided(**fields: Any) -> dict[str, Any]:
    """Routing in which the caller says what matters."""
    return {"routing_mode": "guided", **fields}


def explicit(model: str, **fields: Any) -> dict[str, Any]:
    """Routing in which the caller names the model."""
    return {"routing_mode": "explicit", "model_override": model, **fields}


def latency(preference: str, slow: str, chosen: str, words: str) -> Row:
    """`preference` where one of the models is too slow for all but 'slow'."""
    asked = guided(latency_preference=preference)
    return Row(f"latency {preference}", asked, words, chosen, (slow, QUICK), v1_routing=asked)


ROWS = [
    Row("nothing said", {}, f"{PEER} is the cheapest of 2 models as good as {BASELINE} (to 1 %)", PEER),
    *(
        Row(f"autopilot as {name}", {"routing_mode": "autopilot"}, f"as good as {BASELINE}", PEER, v1_model=name)
        for name in ("asahi", "auto", "asahi/autopilot")
    ),
    Row("a threshold", {"quality_threshold": 4}, f"{GOOD} is the cheapest of 3 models of quality 4 or more", GOOD,
        v1_model="asahi", v1_routing={"quality_threshold": 4}),
    Row("a threshold that none reaches", {"quality_threshold": 4.9},
        f"The quality of 4.9 that is asked for binds: the best that meets the other constraints is {BASELINE} with "
        "4.80 for chat, 0.10 less.",
        status=422, code="no_model_satisfies", param="quality_threshold", v1_routing={"quality_threshold": 4.9}),
    *(
        Row(f"quality {name}", guided(quality_preference=name), f"of quality {least} or more ('{name}')", model,
            v1_model=f"asahi/{name}")
        for name, least, model in (
            ("low", "3.0", WEAK), ("medium", "3.5", FAIR), ("high", "4.0", GOOD), ("max", "4.5", PEER)
        )
    ),
    Row("a quality that none reaches", guided(quality_preference="max"),
        f"The quality of 4.5 that is asked for binds: the best that meets the other constraints is {GOOD} with 4.20 "
        "for chat, 0.30 less.",
        allowed=(WEAK, FAIR, GOOD), status=422, code="no_model_satisfies", param="quality_preference",
        v1_model="asahi/max"),
    Row("guided, nothing said", guided(), f"{WEAK} is the cheapest of 5 models", WEAK, v1_routing=guided()),
    latency("slow", ASKED_SLOWLY, ASKED_SLOWLY, f"{ASKED_SLOWLY} is the cheapest of 2 models"),
    latency("normal", SLOWEST, QUICK, f"{QUICK} is the only model within 3500 ms to the first token ('normal'"),
    latency("fast", SLOWER, QUICK, f"{QUICK} is the only model within 1200 ms to the first token ('fast'"),
    latency("instant", SLOW, QUICK, f"{QUICK} is the only model within 600 ms to the first token ('instant'"),
    Row("a latency that none reaches", guided(latency_preference="fast"),
        f"The latency preference binds: it allows 1200 ms to the first token; the quickest that meets the other "
        f"constraints is {SLOWER} with 2000 ms expected, 800 ms more.",
        allowed=(SLOWER, SLOWEST), status=422, code="no_model_satisfies", param="latency_preference",
        v1_routing=guided(latency_preference="fast")),
    Row("quality and latency", guided(quality_preference="max", latency_preference="fast"),
        f"{QUICK} is the only model of quality 4.5 or more ('max') within 1200 ms", QUICK, (SLOWER, GOOD, QUICK),
        v1_model="asahi/max", v1_routing={"latency_preference": "fast"}),
    Row("a budget that only the dearer model meets", {"latency_budget_ms": 8000, "quality_threshold": 4.5},
        f"{QUICK} is the only model of quality 4.5 or more within 8000 ms", QUICK, (SLOWEST, QUICK),
        v1_routing={"latency_budget_ms": 8000, "quality_threshold": 4.5}),
    Row("a budget that none meets", {"latency_budget_ms": 8000},
        f"The latency budget of 8000 ms binds: the quickest that meets the other constraints is {SLOWEST} with "
        "10500 ms expected, 2500 ms more.",
        allowed=(SLOWEST,), status=422, code="no_model_satisfies", param="latency_budget_ms",
        v1_routing={"latency_budget_ms": 8000}),
    Row("named", explicit(FAIR), f"The caller named {FAIR}; about $", FAIR, v1_model=FAIR),
    Row("named and forbidden", explicit(QUICK),
        f"The key may not use '{QUICK}'; it may use {', '.join(sorted(BY_QUALITY))}.",
        status=403, code="model_not_allowed", param="model", v1_model=QUICK),
    Row("named and unknown", explicit("gpt-4o-minj"), f"There is no model 'gpt-4o-minj'; did you mean {FAIR}?",
        status=404, code="model_not_found", param="model", v1_model="gpt-4o-minj"),
    Row("named and too slow", explicit(SLOWEST, latency_budget_ms=8000),
        f"{SLOWEST} with 10500 ms expected, 2500 ms more.", allowed=(SLOWEST, QUICK), status=422,
        code="no_model_satisfies", param="latency_budget_ms", v1_model=SLOWEST,
        v1_routing={"latency_budget_ms": 8000}),
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose catalog has these figures."""
    data = tmp_path_factory.mktemp("choice")
    models = [
        {"id": name, "quality": dict.fromkeys(KINDS, quality), "first_token_ms": first_ms,
         "output_tokens_per_second": 100}
        for name, (quality, first_ms) in FIGURES.items()
    ]  # fmt: skip
    (data / "catalog.yaml").write_text(json.dumps({"models": models}))
    with running_installation(
        data, environment={"router": {"ASAHI_CATALOG_FILE": str(data / "catalog.yaml")}}
    ) as installation:
        yield installation


@pytest.fixture(scope="module")
def organizations(running: Installation) -> dict[tuple[str, ...], Organization]:
    """One for each list of allowed models, made when it is first asked for."""
    return {}


def organization_of(
    running: Installation, organizations: dict[tuple[str, ...], Organization], allowed: tuple[str, ...]
) -> Organization:
    """The organization that may use these models."""
    if allowed not in organizations:
        organizations[allowed] = running.signup()
        with organizations[allowed].client() as client:
            changes = {"allowed_models": sorted(allowed)}
            answer = client.post(f"/governance/policies/{organizations[allowed].id}", json=changes)
            assert answer.status_code == 200, answer.text
    return organizations[allowed]


def ask(client: httpx2.Client, path: str, row: Row, question: str = "Hello there") -> httpx2.Response:
    """Asks as `row` says, past the cache."""
    headers = {"x-asahi-cache": "off"}
    if path == "/infer":
        return client.post(path, json={"prompt": question, **row.routing}, headers=headers)
    body: dict[str, Any] = {"input": question}
    if path != "/v1/responses":
        body = {"messages": [{"role": "user", "content": question}]}
    if path == "/v1/messages":
        body["max_tokens"] = 500
    if row.v1_model is not None:
        body["model"] = row.v1_model
    if row.v1_routing:
        headers["x-asahi-routing"] = json.dumps(row.v1_routing)
    return client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_model_the_reason_or_the_refusal_is_the_one_of_the_table(
    running: Installation, organizations: dict[tuple[str, ...], Organization], row: Row, path: str
) -> None:
    with organization_of(running, organizations, row.allowed).client() as client:
        answer = ask(client, path, row)
    body = answer.json()
    assert answer.status_code == row.status, body
    if row.model:
        told = body if path == "/infer" else body["asahi"]
        assert answer.headers["x-asahi-model"] == row.model
        assert (body["model_used"] if path == "/infer" else body["model"]) == row.model
        assert row.words in told["routing_reason"]
        return
    assert row.words in body["error"]["message"]
    if path != "/v1/messages":
        param = "model_override" if path == "/infer" and row.param == "model" else row.param
        assert (body["error"]["code"], body["error"]["param"]) == (row.code, param)


@pytest.mark.parametrize("path", PATHS)
def test_a_cheap_model_that_turns_slow_is_left_for_the_dearer_one_and_refused_where_it_is_alone(
    running: Installation, organizations: dict[tuple[str, ...], Organization], path: str
) -> None:
    """It is made to take far longer than any loaded machine: whole answers teach how long all of it takes."""
    control = SimulatorControl(running.url_of("simulator"))
    budget = {"latency_budget_ms": 4000}
    within = Row("within", {**budget, "quality_threshold": 4.5}, "", v1_routing={**budget, "quality_threshold": 4.5})
    without = Row("without", explicit(TURNING), "", v1_model=TURNING)
    both = organization_of(running, organizations, (TURNING, QUICK))
    alone = organization_of(running, organizations, (TURNING,))
    with both.client() as client, alone.client() as lonely:
        for _ in range(20):  # what an earlier path made of it
            ask(client, path, without)
        before = ask(client, path, within)
        control.rules({"mode": "slow", "match": {"model": TURNING}, "params": {"first_token_ms": 9000}})
        try:
            with ThreadPoolExecutor(8) as threads:
                slow = [threads.submit(ask, client, path, without, f"Hello number {n}") for n in range(8)]
            assert {one.result().status_code for one in slow} == {200}
            after, refused = ask(client, path, within), ask(lonely, path, within)
        finally:
            control.reset()
    assert before.headers["x-asahi-model"] == TURNING
    assert after.headers["x-asahi-model"] == QUICK, after.text
    told = after.json() if path == "/infer" else after.json()["asahi"]
    assert f"{QUICK} is the only model of quality 4.5 or more within 4000 ms" in told["routing_reason"]
    assert refused.status_code == 422
    assert (
        f"The latency budget of 4000 ms binds: the quickest that meets the other constraints is {TURNING} with"
        in (refused.json()["error"]["message"])
    )
