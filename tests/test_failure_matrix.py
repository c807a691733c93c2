"""Every failure mode in every position of a chain of three models, plain and streamed, over both provider protocols.

What is expected follows from the rules below, not from what was seen: how a mode looks to the router (`Look`), how
often a model is then asked, what the caller is told when nobody answers, and what the provider bills.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx2
import pytest

from tests.installation import Installation, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

CHAINS = {
    "openai": ("gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol"),
    "anthropic": ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"),
}
"""Cheapest first, which is the order of fallback."""
RETRIES = 1
WHOLE_S = 12.0
ESTIMATED = 3


@dataclass(frozen=True)
class Look:
    """How a failure mode looks from outside."""

    outcome: str = "answered"
    """The attempt's outcome: `answered`, or an error code of the contract."""
    retried: bool = False
    """Whether the same model may be asked again."""
    begun: bool = False
    """Whether the caller has bytes already: then nothing may follow."""
    billed: bool = False
    """Whether the provider bills a call that fails so, or is taken to."""
    finish: str = "stop"


ANSWERED = Look()
BUSY = Look("overloaded", retried=True)
BROKEN = Look("provider_error", retried=True)
BROKEN_BILLED = Look("provider_error", retried=True, billed=True)
REFUSED = Look("invalid_request")
NO_KEY = Look("provider_error")
SILENT = Look("deadline_exceeded", billed=True)
GONE = Look("service_unavailable", retried=True)
CUT_OFF = Look("upstream_interrupted", retried=True, billed=True)
CUT_SHORT = Look("upstream_interrupted", begun=True, billed=True)


@dataclass(frozen=True)
class Mode:
    """A failure mode of the simulator and its look, plain and streamed."""

    name: str
    mode: str
    params: dict[str, Any]
    plain: Look
    streamed: Look


def mode(name: str, kind: str, plain: Look, streamed: Look | None = None, **params: Any) -> Mode:
    """A mode that looks the same plain and streamed unless said otherwise."""
    return Mode(name, kind, params, plain, streamed if streamed is not None else plain)


MODES = (
    mode("too many requests", "status", BUSY, status=429, retry_after_s=0),
    mode("server error", "status", BROKEN, status=500),
    mode("unavailable", "status", BUSY, status=503),
    mode("overloaded", "status", BUSY, status=529),
    mode("bad request", "status", REFUSED, status=400),
    mode("wrong key", "status", NO_KEY, status=401),
    mode("never answers", "hang", SILENT),
    mode("closes at once", "drop", GONE),
    mode("cut", "cut", CUT_OFF, CUT_SHORT, after_tokens=5),
    mode("garbage", "malformed", BROKEN_BILLED, CUT_SHORT, after_tokens=5),
    mode("error in the midst", "stream_error", BROKEN, CUT_SHORT, after_tokens=5, status=500),
    mode("no choices", "empty", BROKEN_BILLED),
    mode("endless", "endless", SILENT, Look("deadline_exceeded", begun=True, billed=True)),
    mode("slow to begin", "slow", ANSWERED, first_token_ms=300),
    mode("counts double", "usage", ANSWERED, usage="factor", factor=2),
    mode("counts nothing", "usage", ANSWERED, usage="zero"),
    mode("does not count", "usage", ANSWERED, usage="missing"),
    mode("refusal", "refusal", Look(finish="content_filter")),
    mode("filtered", "content_filter", Look(finish="content_filter"), after_tokens=5),
    mode("truncated", "truncated", Look(finish="length"), after_tokens=5),
)


@dataclass(frozen=True)
class Case:
    """A mode, and how many models of the chain fail so."""

    number: int
    mode: Mode
    failing: int
    vendor: str
    streamed: bool

    @property
    def tag(self) -> str:
        """What the rules of this case find in its prompt."""
        return f"[case {self.number:04d}]"

    @property
    def look(self) -> Look:
        """How the mode looks here."""
        return self.mode.streamed if self.streamed else self.mode.plain

    @property
    def tries(self) -> int:
        """How often a model that fails so is asked."""
        return 1 + RETRIES if self.look.retried else 1

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Models asked, with the outcome of each."""
        chain = CHAINS[self.vendor]
        if self.look.outcome == "answered":
            return [(chain[0], "answered")]
        if self.look.begun:
            return [(chain[0], self.look.outcome)]
        failed = [(model, self.look.outcome) for model in chain[: self.failing] for _ in range(self.tries)]
        return failed + [(model, "answered") for model in chain[self.failing : self.failing + 1]]

    @property
    def error(self) -> str | None:
        """`status:code`, or `stream:code` after the first byte; None: an answer."""
        if self.look.begun:
            return f"stream:{self.look.outcome}"
        if self.look.outcome == "answered" or self.failing < 3:
            return None
        return {
            "overloaded": "503:overloaded",
            "service_unavailable": "503:service_unavailable",
            "deadline_exceeded": "504:deadline_exceeded",
        }.get(self.look.outcome, "502:provider_error")

    def __str__(self) -> str:
        how = "streamed" if self.streamed else "plain"
        return f"{self.mode.name}, {self.failing} of 3, {self.vendor}, {how}"


def cases() -> list[Case]:
    """All of them; a mode that is an answer, or that ends all, stands in the first place only."""
    found: list[Case] = []
    for one, vendor, streamed in product(MODES, CHAINS, (False, True)):
        look = one.streamed if streamed else one.plain
        places = (1,) if look.outcome == "answered" or look.begun else (1, 2, 3)
        found += [Case(len(found) + n, one, failing, vendor, streamed) for n, failing in enumerate(places)]
    return found


CASES = cases()
Seen = dict[int, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]
"""By case: what the caller got, the ledger's records, the provider's calls."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Every case, asked at the same time in one installation."""
    environment = {
        "router": {
            "ASAHI_RETRIES": str(RETRIES),
            "ASAHI_RETRY_BUDGET": "1000000",
            "ASAHI_BREAKER_FAILURES": "1000000",
        },
        "edge": {"ASAHI_REQUEST_TIMEOUT_SECONDS": str(WHOLE_S)},
    }
    with running_installation(tmp_path_factory.mktemp("matrix"), environment=environment) as running:
        control = SimulatorControl(running.url_of("simulator"))
        control.rules(
            *(
                {"mode": case.mode.mode, "match": {"model": model, "contains": case.tag}, "params": case.mode.params}
                for case in CASES
                for model in CHAINS[case.vendor][: case.failing]
            )
        )
        yield asyncio.run(ask_all(running, control))


async def ask_all(running: Installation, control: SimulatorControl) -> Seen:
    """Asks every case, and reads both books when all is settled."""
    organization = running.signup()
    keys = {}
    with organization.client() as admin:
        for vendor, chain in CHAINS.items():
            body = {"name": vendor, "scopes": ["infer"], "allowed_models": list(chain)}
            keys[vendor] = admin.post("/governance/api-keys", json=body).json()["api_key"]
    async with organization.async_client() as client:
        answers = await asyncio.gather(*(ask(client, keys[case.vendor], case) for case in CASES))
    calls = control.calls()
    for _ in range(100):
        records = call_records(running.data, organization.id)
        if len(records) >= len(calls):
            break
        await asyncio.sleep(0.1)
    return {
        case.number: (
            answer,
            [record for record in records if record["request_id"] == answer["asked_as"]],
            [call for call in calls if call["request_id"] == answer["asked_as"]],
        )
        for case, answer in zip(CASES, answers, strict=True)
    }


async def ask(client: httpx2.AsyncClient, key: str, case: Case) -> dict[str, Any]:
    """What the caller of a case got: an answer, or `error` as `status:code` or `stream:code`."""
    body = {"prompt": f"Say something short. {case.tag}", "quality_threshold": 3, "stream": case.streamed}
    answer = await client.post("/infer", json=body, headers={"authorization": f"Bearer {key}"})
    asked_as = {"asked_as": answer.headers["x-asahi-request-id"], "headers": dict(answer.headers)}
    if answer.status_code != 200:
        return {**asked_as, "error": f"{answer.status_code}:{answer.json()['error']['code']}"}
    if not case.streamed:
        return {**asked_as, **answer.json()}
    *_, last = answer.text.rstrip().split("\n\n")
    name, data = (line.split(": ", 1)[1] for line in last.splitlines())
    found = json.loads(data)
    return {**asked_as, "error": f"stream:{found['error']['code']}"} if name == "error" else {**asked_as, **found}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_status_attempts_and_bill_are_as_the_rules_say(seen: Seen, case: Case) -> None:
    answer, records, calls = seen[case.number]
    assert answer.get("error") == case.error
    told = [(record["model"], record["error_code"] or "answered") for record in sorted(records, key=by_attempt)]
    assert told == case.attempts
    assert [(call["model"], int(call["attempt"])) for call in sorted(calls, key=by_attempt)] == [
        (record["model"], record["attempt"]) for record in sorted(records, key=by_attempt)
    ]
    if case.error is None:
        assert [(a["model"], a["outcome"]) for a in answer["attempts"]] == case.attempts
        assert answer["finish_reason"] == (case.look.finish if case.look.outcome == "answered" else "stop")
        assert round(answer["cost"] * 1e9) == sum(record["cost_nanos"] for record in records)
    elif case.error.startswith("503"):
        assert "retry-after" in answer["headers"]
    elif case.error.startswith("504"):
        assert answer["headers"]["x-should-retry"] == "false"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_call_is_billed_as_the_provider_counts_it(seen: Seen, case: Case) -> None:
    _, records, calls = seen[case.number]
    by_number = {int(call["attempt"]): call for call in calls}
    for record in records:
        call = by_number[record["attempt"]]
        if record["error_code"]:
            assert (record["input_tokens"] > 0) == case.look.billed
            assert not record["answered"]
        elif call["reported"] is not None:
            reported = call["reported"]
            told = (reported["prompt_tokens"] - reported["cached_tokens"], reported["completion_tokens"])
            assert (record["input_tokens"], record["output_tokens"]) == told
        else:
            assert record["usage_source"] == ESTIMATED
            assert record["output_tokens"] > 0


def by_attempt(row: dict[str, Any]) -> int:
    """The number of a call within its request."""
    return int(row["attempt"])


def test_nothing_partial_filtered_or_refused_is_cached(seen: Seen) -> None:
    again = [case for case in CASES if case.look.finish != "stop" or case.error is not None]
    assert again
    for case in again:
        answer, _, _ = seen[case.number]
        assert answer.get("cache_tier", 0) == 0
