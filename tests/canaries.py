"""Secrets and prompts that can be told from everything else, through a whole run; then a search for them everywhere.

`python -m tests.canaries` asks on every inference path, plain, streamed, once and wrongly, lets the provider fail in
words that hold the key it was sent, governs, kills services; then it reads logs at level `debug`, every file under the
data folder, metrics, traces (as a collector gets them) and error bodies. Exit code 1 if a canary is anywhere else than
where its kind may be, if a control is not found where it must be, or if a process would dump its memory.
"""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx2

from tests.installation import ADMIN_SECRET, Installation, Organization, free_port, plan_installation
from tests.simulator import SimulatorControl

_RANDOM = "q7Zt4Kc9Wm2Xr8Lp"
PROVIDER_KEY = f"sk-canary-{_RANDOM}-provider"
PROMPT = f"canary{_RANDOM}prompt"
ANSWER = f"canary{_RANDOM}answer"
HOOK = f"canary{_RANDOM}hook"
NAME = f"canary{_RANDOM}name"
"""The control: an organisation's name and a tag, which the databases must hold."""
_TRACES_WITHIN_S = 15.0
_SERVICES = ("auth", "cache", "router", "billing", "edge")


@dataclass(slots=True)
class Places:
    """What was collected, by where it was found."""

    texts: dict[str, bytes] = field(default_factory=dict)

    def add(self, place: str, content: bytes) -> None:
        """Adds to what the place has."""
        self.texts[place] = self.texts.get(place, b"") + content

    def holding(self, canary: str) -> list[str]:
        """The places that have it."""
        return sorted(place for place, content in self.texts.items() if canary.encode() in content)


@dataclass(slots=True)
class Run:
    """A run and what came of it."""

    places: Places
    keys: list[str] = field(default_factory=list)
    signing_secret: str = ""
    core_limits: dict[str, str] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What is where it must not be, and what is not where it must be; without the secrets themselves."""
        secrets = {"the provider's key": PROVIDER_KEY, "the admin secret": ADMIN_SECRET}
        secrets |= {f"API key {number}": key for number, key in enumerate(self.keys, 1)}
        secrets |= {f"the secret part of API key {number}": key[13:56] for number, key in enumerate(self.keys, 1)}
        wrong = [f"{name} is in {place}" for name, one in secrets.items() for place in self.places.holding(one)]
        wrong += [f"a prompt is in {place}" for place in self.places.holding(PROMPT)]
        wrong += [f"an answer is in {place}" for place in self.places.holding(ANSWER) if not _of(place, "cache.db")]
        wrong += [f"the webhook's address is in {one}" for one in self.places.holding(HOOK) if not one.endswith(_HOOKS)]
        signed = self.places.holding(self.signing_secret)
        wrong += [f"the webhook's secret is in {place}" for place in signed if not _of(place, "billing.db")]
        for canary, file in ((NAME, "auth.db"), (NAME, "billing.db"), (ANSWER, "cache.db"), (HOOK, "auth.db")):
            if not any(_of(place, file) for place in self.places.holding(canary)):
                wrong.append(f"the control is not in {file}: the search finds nothing there")
        wrong += [f"nothing was collected of {kind}" for kind in _KINDS if not self._bytes_of(kind)]
        wrong += [f"{name} may dump core: {limit}" for name, limit in self.core_limits.items() if limit != "0 0"]
        return wrong

    def _bytes_of(self, kind: str) -> int:
        return sum(len(content) for place, content in self.places.texts.items() if place.startswith(kind))


_HOOKS = ("/governance/audit", *(f"{file}{end}" for file in ("auth.db", "billing.db") for end in ("", "-wal", "-shm")))
"""Where an alert's address may be: in the policy, its history, and the alert that waits."""
_KINDS = ("log", "file", "metrics", "traces", "errors")


def _of(place: str, file: str) -> bool:
    """Whether the place is the database, or what SQLite keeps beside it."""
    return place.startswith(f"file {file}")


class _Collector(grpc.GenericRpcHandler):
    """Takes traces as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        def export(request: bytes, _context: grpc.ServicerContext) -> bytes:
            self.taken.append(request)
            return b""

        return grpc.unary_unary_rpc_method_handler(export)


async def run(data: Path) -> Run:
    """A whole run in an installation of its own."""
    collector = _Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[collector])
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    metrics = {name: free_port() for name in _SERVICES}
    common = {"ASAHI_LOG_LEVEL": "debug", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "ASAHI_TRACE_RATIO": "1"}
    environment = {name: {**common, "ASAHI_METRICS_ADDRESS": f"127.0.0.1:{metrics[name]}"} for name in _SERVICES}
    environment["cache"]["ASAHI_EMBEDDING_THREADS"] = "0"
    environment["billing"]["ASAHI_ALERT_TARGETS"] = "http://127.0.0.1:9"
    installation = plan_installation(data, edges=1, simulator=True, environment=environment)
    router = installation["router"].environment
    router |= {"OPENAI_API_KEY": PROVIDER_KEY, "OPENAI_BASE_URL": f"{installation.url_of('simulator')}/v1"}
    run = Run(Places())
    try:
        await asyncio.to_thread(installation.start)
        await _use(installation, run)
        for name, port in metrics.items():
            run.places.add(f"metrics of {name}", httpx2.get(f"http://127.0.0.1:{port}/metrics", verify=False).content)
        for name in _SERVICES:
            run.core_limits[name] = _core_limit(installation[name].pid)
    finally:
        await asyncio.to_thread(installation.stop)
        server.stop(None)
    run.places.add("traces", b"".join(collector.taken))
    await asyncio.to_thread(_read_files, data, run.places)
    return run


def _read_files(data: Path, places: Places) -> None:
    for file in sorted(data.rglob("*")):
        if file.is_file() and file.name != "simulator.log":
            kind = "log" if file.suffix == ".log" else "file"
            places.add(f"{kind} {file.relative_to(data)}", file.read_bytes())


async def _use(installation: Installation, run: Run) -> None:
    """Everything that touches a secret or a prompt."""
    control = SimulatorControl(installation.url_of("simulator"))
    organization = installation.signup(NAME)
    run.keys.append(organization.key)
    async with _client(organization, run) as http:
        await _govern(http, organization, run)
        control.rules({"mode": "answer", "params": {"text": f"It is {ANSWER}."}})
        for path, body in _questions():
            for stream in (False, True):
                asked = {**body, "stream": stream}
                await http.post(path, json=asked, headers={"x-asahi-tags": f"team={NAME}"})
                await http.post(path, json=asked, headers={"idempotency-key": f"{path}-{stream}"})
        for failure in _failures():
            control.rules(failure)
            for path, body in _questions():
                for stream in (False, True):
                    await http.post(path, json={**body, "stream": stream, "seed": 7}, headers={"x-asahi-cache": "off"})
        control.rules()
        await _ask_wrongly(http)
        installation["router"].kill()
        await http.post("/infer", json={"prompt": f"{PROMPT} without a router"})
        installation["router"].start()
        installation["billing"].kill()
        await asyncio.to_thread(installation["router"].wait_ready)
        await http.post("/infer", json={"prompt": f"{PROMPT} without billing"})
        installation["billing"].start()
        await asyncio.to_thread(installation["billing"].wait_ready)
        for path in ("/analytics/recent-inferences", "/analytics/export", "/governance/audit", "/metrics"):
            run.places.add(f"errors and reports, {path}", (await http.get(path)).content)
        await asyncio.sleep(1.0)


def _questions() -> Iterator[tuple[str, dict[str, Any]]]:
    messages = [{"role": "user", "content": f"Say {PROMPT}"}]
    yield "/infer", {"prompt": f"What is {PROMPT}?", "system": PROMPT}
    yield "/v1/chat/completions", {"model": "gpt-6-luna", "messages": messages}
    yield "/v1/messages", {"model": "asahi", "max_tokens": 50, "messages": messages, "system": PROMPT}
    yield "/v1/responses", {"model": "gpt-6-luna", "input": f"Say {PROMPT}", "store": False}


def _failures() -> Iterator[dict[str, Any]]:
    """Refusals in words that hold the key that the provider was sent."""
    told = f"Incorrect API key provided: {PROVIDER_KEY}."
    for status in (400, 401, 429, 500):
        yield {
            "mode": "status",
            "params": {"status": status, "retry_after_s": 0, "message": told, "code": PROVIDER_KEY},
        }
    yield {"mode": "malformed", "params": {"text": PROMPT * 5}}
    yield {"mode": "stream_error", "params": {"status": 500, "message": told, "after_tokens": 2}}


async def _govern(http: httpx2.AsyncClient, organization: Organization, run: Run) -> None:
    made = (await http.post("/governance/api-keys", json={"name": NAME, "scopes": ["infer"]})).json()
    rotated = (await http.post(f"/governance/api-keys/{made['id']}/rotate", json={})).json()
    run.keys += [made["api_key"], rotated["api_key"]]
    budget = {"per": "organization", "window": "month", "limit_usd": 0.000001, "action": "alert", "alert_at": [0.5]}
    policy = {"alerts": {"webhook_url": f"http://127.0.0.1:9/{HOOK}"}, "budgets": [budget]}
    (await http.post(f"/governance/policies/{organization.id}", json=policy)).raise_for_status()
    run.signing_secret = (await http.get("/governance/alerts")).json()["data"]["signing_secret"]
    operator = {"x-admin-secret": ADMIN_SECRET}
    (await http.get("/governance/organizations", headers=operator)).raise_for_status()
    await http.get("/governance/organizations", headers={"x-admin-secret": f"{ADMIN_SECRET}-wrong"})
    await http.get("/models", headers={"authorization": f"Bearer {organization.key[:-1]}0"})


async def _ask_wrongly(http: httpx2.AsyncClient) -> None:
    """Bodies and headers that are refused, with the canary where a message might repeat it."""
    for path, body in _questions():
        field = next(name for name in ("prompt", "messages", "input") if name in body)
        for wrong in ({field: {PROMPT: PROMPT}}, {field: [PROMPT]}, {field: [[PROMPT]]}, {"max_tokens": -1}):
            await http.post(path, json={**body, **wrong})
        await http.post(path, content=json.dumps(body).encode()[:-3])
        await http.post(path, content=b'{"prompt": "' + PROMPT.encode() + b'\xff"}')
    await http.post("/infer", json={"prompt": PROMPT * 10_000})
    await http.post("/infer", json={"prompt": PROMPT}, headers={"x-asahi-routing": f'{{"{PROMPT}'})


@asynccontextmanager
async def _client(organization: Organization, run: Run) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose refusals are collected, with their headers; and their messages read."""

    async def collect(response: httpx2.Response) -> None:
        content = await response.aread()
        if response.status_code >= 400 or b"event: error" in content or b'data: {"error":' in content:
            run.places.add("errors", content + str(response.headers.raw).encode())

    async with organization.async_client() as http:
        http.event_hooks = {"response": [collect]}
        yield http


def _core_limit(pid: int) -> str:
    """Soft and hard limit of core files, as the kernel has them."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    found = re.search(r"^Max core file size +(\S+) +(\S+)", limits, re.MULTILINE)
    assert found is not None
    return f"{found[1]} {found[2]}"


def main() -> int:
    """Runs the rig."""
    with tempfile.TemporaryDirectory(prefix="asahi-canaries-") as folder:
        done = asyncio.run(run(Path(folder) / "data"))
    wrong = done.faults()
    size = sum(map(len, done.places.texts.values()))
    print(f"{len(done.places.texts)} places, {size / 1e6:.1f} MB searched; {len(wrong)} faults")
    for fault in wrong:
        print(f"  WRONG: {fault}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
