"""Every failure mode in every place of a chain of three models: status, attempts and bill are what the rules say."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.failure_matrix import CHAINS, PATIENCE_S, RETRIES, Case, cases
from tests.installation import Installation, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

WHOLE_S = 12.0
AT_ONCE = 40
ESTIMATED = 3
CASES = cases()
SLOW_MODES = {"hang", "endless"}
WRONG_COUNTS = {"counts double", "counts nothing"}
"""Asked last, for estimates learn from what providers count."""


@dataclass(frozen=True)
class Told:
    """What the caller of a case was told."""

    request_id: str
    headers: dict[str, str]
    error: str | None = None
    """`status:code`, or `stream:code` after the first byte; None: an answer."""
    finish: str | None = None
    cost_nanos: int = 0
    attempts: list[tuple[str, str]] | None = None
    """None: this API does not tell them."""


@dataclass(frozen=True)
class Seen:
    """What came of a case."""

    told: Told
    records: list[dict[str, Any]]
    """The ledger's, by attempt."""
    calls: list[dict[str, Any]]
    """The provider's, by attempt."""
    asked_again: str
    """`x-asahi-cache` when the same was asked once more; empty: it was not."""


def again(case: Case) -> bool:
    """Whether the case is asked once more, when nothing fails any more."""
    return case.way != "explicit" and case.before == 0 and case.failing == 1


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Seen]]:
    """Every case by its number, asked in one installation."""
    environment = {
        "router": {
            "ASAHI_RETRIES": str(RETRIES),
            "ASAHI_RETRY_BUDGET": "1000000",
            "ASAHI_BREAKER_FAILURES": "1000000",
        },
        "edge": {"ASAHI_REQUEST_TIMEOUT_SECONDS": str(WHOLE_S), "ASAHI_CACHE_TIMEOUT_SECONDS": "10"},
    }
    with running_installation(tmp_path_factory.mktemp("matrix"), environment=environment) as running:
        yield asyncio.run(ask_all(running))


async def ask_all(running: Installation) -> dict[int, Seen]:
    """Asks every case, and reads both books when all is settled."""
    control = SimulatorControl(running.url_of("simulator"))
    organization = running.signup()
    keys = {}
    with organization.client() as admin:
        for vendor, chain in CHAINS.items():
            body = {"name": vendor, "scopes": ["infer"], "allowed_models": list(chain)}
            keys[vendor] = admin.post("/governance/api-keys", json=body).json()["api_key"]
    async with organization.async_client() as client:
        await teach_estimates(client)
        control.reset()
        control.rules(*{json.dumps(rule): rule for case in CASES for rule in case.rules}.values())
        places = asyncio.Semaphore(AT_ONCE)

        async def in_turn(case: Case) -> Told:
            async with places:
                return await ask(client, keys[case.vendor], case)

        slow = [case for case in CASES if case.mode.kind in SLOW_MODES]
        wrong = [case for case in CASES if case.mode.name in WRONG_COUNTS]
        others = [case for case in CASES if case not in slow and case not in wrong]
        told = [*await asyncio.gather(*(ask(client, keys[case.vendor], case) for case in slow))]
        told += await asyncio.gather(*map(in_turn, others))
        told += await asyncio.gather(*map(in_turn, wrong))
        in_order = slow + others + wrong
        calls = control.calls()
        control.rules()
        twice = [case for case in CASES if again(case)]
        repeated = await asyncio.gather(*map(in_turn, twice))
    kept = {case.number: answer.headers["x-asahi-cache"] for case, answer in zip(twice, repeated, strict=True)}
    records = await settled(running, organization.id, {call["request_id"] for call in calls}, len(calls))
    return {
        case.number: Seen(
            answer,
            of_request(records, answer.request_id),
            of_request(calls, answer.request_id),
            kept.get(case.number, ""),
        )
        for case, answer in zip(in_order, told, strict=True)
    }


async def teach_estimates(client: httpx2.AsyncClient) -> None:
    """A few whole answers of every model, from which estimates of broken ones learn."""
    await asyncio.gather(
        *(
            client.post("/infer", json={**question(case), **named(model)}, headers={"cache-control": "no-store"})
            for case in CASES[:: len(CASES) // 8]
            for model in CHAINS["openai"] + CHAINS["anthropic"]
        )
    )


async def settled(running: Installation, organization_id: str, asked: set[str], calls: int) -> list[dict[str, Any]]:
    """The ledger's records of the requests `asked`, once there are as many as the provider had calls."""
    records: list[dict[str, Any]] = []
    for _ in range(1200):
        found = call_records(running.data, organization_id)
        records = [record for record in found if record["request_id"] in asked]
        if len(records) >= calls:
            break
        await asyncio.sleep(0.1)
    return records


def of_request(rows: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    """Those of a request, by attempt."""
    return sorted((row for row in rows if row["request_id"] == request_id), key=lambda row: int(row["attempt"]))


def question(case: Case) -> dict[str, Any]:
    """The body of the case for `/infer`, its routing left out."""
    return {"prompt": case.prompt, "stream": case.streamed}


def named(model: str) -> dict[str, Any]:
    """The routing that names a model."""
    return {"routing_mode": "explicit", "model_override": model}


async def ask(client: httpx2.AsyncClient, key: str, case: Case) -> Told:
    """What the caller of a case is told."""
    headers = {"authorization": f"Bearer {key}"}
    if case.way == "chat":
        headers["x-asahi-routing"] = json.dumps({"quality_threshold": 3})
        messages = [{"role": "user", "content": case.prompt}]
        body: dict[str, Any] = {"model": "asahi", "messages": messages, "stream": case.streamed}
        answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    else:
        routing = named(case.chain[0]) if case.way == "explicit" else {"quality_threshold": 3}
        answer = await client.post("/infer", json={**question(case), **routing}, headers=headers)
    told = Told(answer.headers["x-asahi-request-id"], dict(answer.headers))
    if answer.status_code != 200:
        return Told(told.request_id, told.headers, f"{answer.status_code}:{answer.json()['error']['code']}")
    events = (
        [decoded(block) for block in answer.text.rstrip().split("\n\n")] if case.streamed else [decoded(answer.text)]
    )
    if "error" in events[-1]:
        return Told(told.request_id, told.headers, f"stream:{events[-1]['error']['code']}")
    return understood(told, events, case)


def decoded(block: str) -> Any:
    """The JSON of a body or an event, amounts exact; the end mark of a stream is empty."""
    data = block.rsplit("data: ", 1)[-1]
    return {} if data == "[DONE]" else json.loads(data, parse_float=Decimal)


def understood(told: Told, events: list[Any], case: Case) -> Told:
    """The answer that a body, or all events of a stream, are."""
    if case.way == "chat":
        (finish,) = (
            choice["finish_reason"]
            for event in events
            for choice in event.get("choices", ())
            if choice.get("finish_reason")
        )
        cost = next(event["asahi"]["cost_usd"] for event in events if "asahi" in event)
        return Told(told.request_id, told.headers, None, finish, nanos(cost))
    last = events[-1]
    attempts = [(attempt["model"], attempt["outcome"]) for attempt in last["attempts"]]
    return Told(told.request_id, told.headers, None, last["finish_reason"], nanos(last["cost"]), attempts)


def nanos(amount: Any) -> int:
    """Dollars in nano-dollars."""
    return int(Decimal(amount) * 10**9)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_caller_is_told_what_the_rules_say(seen: dict[int, Seen], case: Case) -> None:
    told = seen[case.number].told
    assert told.error == case.error
    if case.error is None:
        assert told.finish == case.finish
        assert told.attempts in (None, case.attempts)
    elif case.error.startswith("503"):
        asked_for = PATIENCE_S if "for long" in case.mode.name else 0
        assert int(told.headers["retry-after"]) >= asked_for
    elif case.error.startswith("504"):
        assert told.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_provider_call_has_one_record_with_its_outcome(seen: dict[int, Seen], case: Case) -> None:
    records, calls = seen[case.number].records, seen[case.number].calls
    assert [(record["model"], outcome_of(record, case)) for record in records] == case.attempts
    assert [(call["model"], int(call["attempt"])) for call in calls] == [
        (record["model"], record["attempt"]) for record in records
    ]
    assert [record["answered"] for record in records] == [
        outcome == "answered" and case.error is None for _, outcome in case.attempts
    ]
    assert not any(record["orphan"] for record in records)


def outcome_of(record: dict[str, Any], case: Case) -> str:
    """The call's outcome. When a request's time is up, edge and router both end it; either may be first."""
    outcome = str(record["error_code"]) or "answered"
    return "deadline_exceeded" if outcome == "cancelled" and case.mode.kind in SLOW_MODES else outcome


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_bill_is_the_providers(seen: dict[int, Seen], case: Case) -> None:
    here = seen[case.number]
    for place, (record, call) in enumerate(zip(here.records, here.calls, strict=True)):
        billed = case.look.billed and record["error_code"] and place >= case.before * (1 + RETRIES)
        recorded = (record["input_tokens"] + record["cache_read_tokens"], record["output_tokens"])
        if record["error_code"] and not billed:
            assert recorded == (0, 0)
            assert record["cost_nanos"] == 0
        elif call["reported"] is not None and not record["error_code"]:
            assert recorded == (call["reported"]["prompt_tokens"], call["reported"]["completion_tokens"])
        else:
            bill_is_close(record, call, case)
    if case.error is None:
        assert here.told.cost_nanos == sum(record["cost_nanos"] for record in here.records)


def bill_is_close(record: dict[str, Any], call: dict[str, Any], case: Case) -> None:
    """What the provider does not tell is estimated: what it read, and exactly as many tokens as came in a stream."""
    asked = record["input_tokens"] + record["cache_read_tokens"]
    assert asked == pytest.approx(call["prompt_tokens"] or 190, rel=0.15)  # who never answers does not tell the bill
    if case.streamed and case.mode.kind not in SLOW_MODES:
        told_at_once = 1 if case.vendor == "anthropic" and case.mode.kind != "empty" else 0  # by `message_start`
        assert record["output_tokens"] == max(told_at_once, call["completion_tokens"])
    assert record["cost_nanos"] > 0


@pytest.mark.parametrize("case", [case for case in CASES if again(case)], ids=str)
def test_only_whole_answers_are_stored(seen: dict[int, Seen], case: Case) -> None:
    assert ("hit" in seen[case.number].asked_again) == case.stored
