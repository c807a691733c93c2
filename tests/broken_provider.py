"""One provider is broken, a second one is not: who is answered, how much later, and who is billed what.

`python -m tests.broken_provider --requests 4000`: real processes, a simulator for either provider. The broken one is
the cheaper, with two models, so that every question is asked there first. For each way of being broken: the share of
requests that were answered, by form; how long they took beside none being broken; calls under way when all had ended;
and the ledger beside the providers' own counts.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.installation import Installation, Organization, Process, free_port, plan_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

BROKEN, SOUND = ("gpt-4.1-nano", "gpt-4o-mini"), "claude-haiku-4-5"
"""Models of OpenAI, which is broken, and of Anthropic, in the order in which they are asked."""
AT_ONCE = 8
DEADLINE_MS = 6000
"""Of every request; expected times are far below."""
GRACE_S = 1.0
"""Longer than that after its deadline no request is answered, nor a call under way."""
FORMS = ("infer", "infer, streamed", "chat", "chat, streamed")


@dataclass(frozen=True, slots=True)
class Way:
    """A way of being broken: `rule` of the simulator, or (None) its process is killed."""

    name: str
    mode: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    """Whether a stream has begun when it breaks: its caller has part of an answer that nobody can go on with."""


SOUND_WAY = Way("nothing broken", "answer")
WAYS = (
    Way("dead"),
    Way("silent", "hang"),
    Way("slow", "slow", {"first_token_ms": 20_000}),
    Way("refuses: 400", "status", {"status": 400}),
    Way("refuses: 401", "status", {"status": 401}),
    Way("refuses: 429", "status", {"status": 429, "retry_after_s": 1}),
    Way("refuses: 500", "status", {"status": 500}),
    Way("refuses: 503", "status", {"status": 503}),
    Way("closes", "drop"),
    Way("lies: usage × 3", "usage", {"factor": 3}),
    Way("lies: usage 0", "usage", {"usage": "zero"}),
    Way("lies: no usage", "usage", {"usage": "missing"}),
    Way("lies: another model", "answer", {"model": "gpt-3.5-turbo"}),
    Way("lies: no choices", "empty"),
    Way("lies: broken JSON", "malformed", {"after_tokens": 5}, begun=True),
    Way("cuts", "cut", {"after_tokens": 5}, begun=True),
)


@dataclass(slots=True)
class Seen:
    """What came of the requests to an installation with a provider that is broken in one way."""

    way: Way
    asked: Counter[str] = field(default_factory=Counter)
    """By form."""
    answered: Counter[str] = field(default_factory=Counter)
    by: Counter[str] = field(default_factory=Counter)
    """Answers by model."""
    failures: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    """Of the answered ones."""
    late: int = 0
    """Requests that ended after their deadline."""
    under_way: int = 0
    """Provider calls that had not ended when all requests had."""
    wrong_bills: list[str] = field(default_factory=list)

    def share(self, forms: Sequence[str] = FORMS) -> float:
        """Of the requests in these forms that were answered."""
        return sum(self.answered[form] for form in forms) / max(1, sum(self.asked[form] for form in forms))

    def at(self, quantile: float) -> float:
        """Milliseconds that this share of the answered ones took at most."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else float("nan")


@contextmanager
def two_providers(data: Path) -> Iterator[tuple[Installation, Process]]:
    """An installation between two providers, and the process of the first, which is to be broken."""
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    router = {
        "OPENAI_API_KEY": "key-of-the-broken", "OPENAI_BASE_URL": f"{urls[0]}/v1",
        "ANTHROPIC_API_KEY": "key-of-the-sound", "ANTHROPIC_BASE_URL": urls[1],
    }  # fmt: skip
    installation = plan_installation(data, edges=1, simulator=False, environment={"router": router})
    for name, port in zip(("broken", "sound"), ports, strict=True):
        variables = {
            **installation["billing"].environment,
            "ASAHI_SIMULATOR_ADDRESS": f"127.0.0.1:{port}",
            "ASAHI_SIMULATOR_SPEED": "0",
        }
        installation.processes[name] = Process(name, "asahi_simulator", variables, data / f"{name}.log", port)
    try:
        installation.start()
        yield installation, installation["broken"]
    finally:
        installation.stop()


async def break_it(running: Installation, broken: Process, way: Way, requests: int) -> Seen:
    """Asks so many requests while the provider is broken in that way, and reads all books."""
    controls = [SimulatorControl(running.url_of(name)) for name in ("broken", "sound")]
    organization = running.signup()
    with organization.client() as client:
        changes = {"allowed_models": [*BROKEN, SOUND], "cache": {"tiers": []}}
        assert client.post(f"/governance/policies/{organization.id}", json=changes).status_code == 200
    for control in controls:
        control.reset()
    if way.mode is None:
        broken.kill()
    else:
        controls[0].rules({"mode": way.mode, "params": way.params})
    seen = Seen(way)
    places = asyncio.Semaphore(AT_ONCE)
    async with organization.async_client() as caller:

        async def in_turn(number: int) -> None:
            async with places:
                await ask(caller, number, seen)

        await asyncio.gather(*map(in_turn, range(requests)))
    await asyncio.sleep(GRACE_S)
    alive = [control for control in controls if way.mode is not None or control is controls[1]]
    calls = [call for control in alive for call in control.calls()]
    seen.under_way = sum(call["outcome"] == "under_way" for call in calls)
    seen.wrong_bills = await compare(running, organization, calls, seen)
    if way.mode is None:
        broken.start()
        broken.wait_ready()
    return seen


async def ask(client: httpx2.AsyncClient, number: int, seen: Seen) -> None:
    """One question, in one of four forms, in turns."""
    form = FORMS[number % len(FORMS)]
    stream, text = form.endswith("streamed"), f"What is {number} and {seen.way.name}?"
    routing = {"quality_threshold": 4, "latency_budget_ms": DEADLINE_MS}
    headers = {"x-asahi-cache": "off"}
    if form.startswith("infer"):
        path, body = "/infer", {"prompt": text, "stream": stream, "max_tokens": 200, **routing}
    else:
        messages = [{"role": "user", "content": text}]
        path, body = "/v1/chat/completions", {"messages": messages, "stream": stream, "max_tokens": 200}
        headers["x-asahi-routing"] = json.dumps(routing)
    seen.asked[form] += 1
    begun = time.perf_counter()
    async with client.stream("POST", path, json=body, headers=headers) as answer:
        told = (await answer.aread()).decode()
    took_s = time.perf_counter() - begun
    seen.late += took_s > DEADLINE_MS / 1000 + GRACE_S
    whole = "event: done" in told or "data: [DONE]" in told if stream else True
    if answer.status_code != 200 or not whole:
        code = told[told.find('"code"') :][:60] if '"code"' in told else told[-60:]
        seen.failures[f"{answer.status_code} {code}"] += 1
        return
    seen.answered[form] += 1
    seen.ms.append(took_s * 1000)


async def compare(
    running: Installation, organization: Organization, calls: Sequence[dict[str, Any]], seen: Seen
) -> list[str]:
    """What differs between the ledger and the providers' counts. Providers that are none of ours are not told our ids.

    A call has one record, a request one answer at most; there are as many records of a model as it had calls, and as
    many tokens in those that answered as the provider told.
    """
    killed = BROKEN if seen.way.mode is None else ()
    made = Counter(call["model"] for call in calls)
    for _ in range(300):
        records = call_records(running.data, organization.id)
        if sum(record["model"] not in killed for record in records) >= len(calls):
            break
        await asyncio.sleep(0.1)
    wrong = []
    if len({(record["request_id"], record["attempt"]) for record in records}) != len(records):
        wrong.append("a call has two records")
    answers = Counter(record["request_id"] for record in records if record["answered"])
    wrong += [f"{request_id} was answered {count} times" for request_id, count in answers.items() if count > 1]
    seen.by = Counter(record["model"] for record in records if record["answered"])
    booked = Counter(record["model"] for record in records if record["model"] not in killed)
    if booked != made:
        wrong.append(f"records {dict(booked)}, calls {dict(made)}")
    wrong += [f"{r['model']} was dead, and billed" for r in records if r["model"] in killed and r["cost_nanos"]]
    if seen.way.params.get("usage") == "missing":
        return wrong
    for model in made:
        usages = [call["reported"] for call in calls if call["model"] == model and call["reported"] is not None]
        answered = [record for record in records if record["model"] == model and record["answered"]]
        told = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)
        billed = sum(r["input_tokens"] + r["cache_read_tokens"] + r["output_tokens"] for r in answered)
        if billed > told or (len(answered) == len(usages) and billed != told):
            wrong.append(f"{model}: {billed} tokens billed in {len(answered)} answers, {told} told in {len(usages)}")
    return wrong


def table(base: Seen, seen: Sequence[Seen]) -> str:
    """For people."""
    lines = [
        "| provider | answered | plain | streamed | by the second | added ms p50, p99 | late | bills wrong |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    plain, streamed = [form for form in FORMS if "," not in form], [form for form in FORMS if "," in form]
    for one in [base, *seen]:
        added = ", ".join(f"{one.at(q) - base.at(q):+.0f}" for q in (0.5, 0.99))
        shares = " | ".join(f"{one.share(forms):.2%}" for forms in (FORMS, plain, streamed))
        by_second = one.by[SOUND] / max(1, sum(one.by.values()))
        late = one.late + one.under_way
        lines.append(f"| {one.way.name} | {shares} | {by_second:.0%} | {added} | {late} | {len(one.wrong_bills)} |")
    return "\n".join(lines)


async def run(data: Path, requests: int, ways: Sequence[Way] = WAYS) -> tuple[Seen, list[Seen]]:
    """All `ways`, each on an installation that knows nothing of those before; first with nothing broken."""
    seen = []
    for number, way in enumerate((SOUND_WAY, *ways)):
        with two_providers(data / str(number)) as (running, broken):
            seen.append(await break_it(running, broken, way, requests))
        one = seen[-1]
        print(f"{way.name}: {one.share():.3%} answered, {dict(one.failures)}, {one.wrong_bills[:3]}", flush=True)
    return seen[0], seen[1:]


def main() -> int:
    """Break, print; 0 if at least 99.9 % were answered in every way, none late, and no bill was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.broken_provider", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="for each way of being broken")
    parser.add_argument("--way", action="append", help="only those whose name begins so")
    options = parser.parse_args()
    ways = [way for way in WAYS if not options.way or any(way.name.startswith(name) for name in options.way)]
    with tempfile.TemporaryDirectory() as folder:
        base, seen = asyncio.run(run(Path(folder), options.requests, ways))
    print(table(base, seen))
    held = all(one.share() >= 0.999 and not (one.late or one.under_way or one.wrong_bills) for one in (base, *seen))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
