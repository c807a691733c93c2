"""From an older version to this one and back, with data and under load: `python -m tests.k8s.cluster --from COMMIT`.

The older version is installed with its own charts and images, of the tag COMMIT. Then pods follow each other so slowly
that both versions serve beside each other for two minutes, on the schemas of this one. What one has kept the other has
to find. At the end the older version is alone again, on the newer schemas.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.images.build import extract
from deploy.k8s.generate import SERVICES
from tests.k8s.cluster.cases import Stage
from tests.k8s.cluster.installation import Installation, prepared_installation
from tests.k8s.objects import SERVERS
from tests.k8s.rendering import Charts, Object

BESIDE_S = 120.0
_STEP_S = 0.5
_CHANGED_WITHIN_S = 600.0
_RECORDED_WITHIN_S = 60.0
_PASSING = (503, 504)
_TRIES = 10
_POLICY: dict[str, Any] = {"per": "organization", "window": "month", "limit_usd": 1000, "action": "block"}


@contextmanager
def charts_of(commit: str) -> Iterator[Charts]:
    """Charts as they were, assembled by the code that belongs to them."""
    with tempfile.TemporaryDirectory() as folder:
        source, charts = Path(folder) / "source", Path(folder) / "charts"
        source.mkdir()
        extract(commit, source, "deploy")
        subprocess.run((sys.executable, "-m", "deploy.k8s.assemble", str(charts)), check=True, cwd=source)
        yield Charts(charts)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The case. `installed` gives an installation of the older version, on which it runs."""

    commit: str
    older: Charts
    newer: Charts

    @classmethod
    @asynccontextmanager
    async def installed(cls, commit: str, older: Charts, tag: str) -> AsyncIterator[tuple["Upgrade", Installation]]:
        """The older version, by its own charts."""
        async with prepared_installation(tag) as installation:
            upgrade = cls(commit, older, installation.charts)
            installation.charts = older
            installation.upgrade(upgrade._older_images())
            await installation.cluster.settled()
            yield upgrade, installation

    async def __call__(self, stage: Stage) -> None:
        """There, both beside each other, and back."""
        installation = stage.installation
        first = await _Kept.written(stage, "by the older version")
        installation.charts, installation.planted = self.newer, _slowly
        installation.upgrade()
        beside, second = await self._change(stage, first)
        for service, seconds in beside.items():
            stage.expect(seconds >= BESIDE_S, f"{service}: both versions beside each other for {seconds:.0f} s only")
        stage.notes.append("beside: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in beside.items()))
        third = await _Kept.written(stage, "by this version")
        for kept in (first, second):
            await kept.check("this version")
        installation.charts, installation.planted = self.older, lambda _objects: None
        installation.upgrade(self._older_images())
        await installation.cluster.settled(within_s=_CHANGED_WITHIN_S)
        for kept in (first, second, third, await _Kept.written(stage, "after the way back")):
            await kept.check("back")

    def _older_images(self) -> dict[str, Any]:
        return {service: {"image": {"tag": self.commit}} for service in SERVICES}

    async def _change(self, stage: Stage, first: "_Kept") -> tuple[dict[str, float], "_Kept"]:
        """Until no pod of the older version is left: for how long each service had ready ones of both."""
        cluster, beside = stage.installation.cluster, dict.fromkeys(SERVICES, 0.0)
        checking: asyncio.Task[_Kept] | None = None
        last = begun = time.monotonic()

        def look() -> bool:
            nonlocal last
            now = time.monotonic()
            for service in SERVICES:
                pods = cluster[service].pods
                if len({self._is_older(pod.spec) for pod in pods if pod.ready}) > 1:
                    beside[service] += now - last
            last = now
            return all(pod.ready and not self._is_older(pod.spec) for pod in cluster.pods())

        while not look():
            await cluster.until("a step", lambda: time.monotonic() - last > _STEP_S, 10)
            if checking is None and min(beside.values()) > BESIDE_S / 4:
                checking = asyncio.create_task(self._check_beside(stage, first))
            if time.monotonic() - begun > _CHANGED_WITHIN_S:
                stage.faults.append(f"not changed within {_CHANGED_WITHIN_S:.0f} s\n{cluster.state()}")
                break
        stage.expect(checking, "the versions were not beside each other")
        return beside, await (checking or self._check_beside(stage, first))

    @staticmethod
    async def _check_beside(stage: Stage, first: "_Kept") -> "_Kept":
        """What is written while both serve, looked at as what was there before is."""
        second = await _Kept.written(stage, "by both")
        for kept in (first, second):
            await kept.check("beside")
        return second

    def _is_older(self, spec: Object) -> bool:
        return str(spec["containers"][0]["image"]).endswith(f":{self.commit}")


def _slowly(objects: list[Object]) -> None:
    """Pods count as available only after a while, so that versions stay beside each other."""
    for one in objects:
        if one["kind"] in SERVERS:  # a set replaces pod by pod, a Deployment of two starts each beside two others
            one["spec"]["minReadySeconds"] = round(BESIDE_S / (1 if one["kind"] == "StatefulSet" else 2)) + 5


@dataclass(frozen=True, slots=True)
class _Kept:
    """What an organization with a budget that blocks has in the stores."""

    stage: Stage
    organization: str
    headers: dict[str, str]
    word: str
    answer: dict[str, Any]
    response: dict[str, Any]

    @classmethod
    async def written(cls, stage: Stage, word: str) -> "_Kept":
        """A key, a policy, an answer by an idempotency key, feedback on it, a stored response."""
        async with _Asking(stage, {}) as ask:
            made = await ask("POST", "/signup", {"org_name": word, "user_id": "tester"})
        organization, headers = made["org_id"], {"authorization": f"Bearer {made['api_key']}"}
        async with _Asking(stage, headers) as ask:
            policy = {"budgets": [_POLICY], "cache": {"ttl_seconds": 1234}}
            await ask("POST", f"/governance/policies/{organization}", policy)
            answer = await ask("POST", "/infer", {"prompt": word}, {"idempotency-key": word})
            await ask("POST", "/feedback", {"request_id": answer["request_id"], "score": 0.5})
            while not (response := await ask("POST", "/v1/responses", {"input": word, "store": True}))["store"]:
                stage.faults.append(f"a response was not kept, and said so ({word})")
        return cls(stage, organization, headers, word, answer, response)

    async def check(self, when: str) -> None:
        """Notes as faults what of it is not there, or has changed."""
        try:
            await self._compare(when)
        except AssertionError as error:
            self.stage.faults.append(f"{when}: {error} (kept {self.word})")

    async def _compare(self, when: str) -> None:
        async with _Asking(self.stage, self.headers) as ask:
            again = await ask("POST", "/infer", {"prompt": self.word}, {"idempotency-key": self.word})
            response = await ask("GET", f"/v1/responses/{self.response['id']}")
            policy = await ask("GET", f"/governance/policies/{self.organization}")
            report = (await ask("GET", "/governance/compliance/report"))["data"]
            cost = await self._cost(ask)
        holds = {
            "another answer to the same idempotency key": again == self.answer,
            "another stored response": response["output"] == self.response["output"],
            "another policy": policy["cache"]["ttl_seconds"] == 1234 and policy["budgets"][0]["limit_usd"] == 1000,
            "an audit chain that does not hold": report["audit"]["intact"],
            "another cost in the ledger": cost == self.answer["cost"],
        }
        self.stage.faults += [f"{when}: {fault} (kept {self.word})" for fault, right in holds.items() if not right]

    async def _cost(self, ask: "_Asking") -> float | None:
        """What the ledger says that the answer cost; None: it has not heard of it in time."""
        deadline = time.monotonic() + _RECORDED_WITHIN_S
        while True:
            listed = (await ask("GET", "/analytics/recent-inferences"))["data"]
            costs = {one["request_id"]: float(one["cost"]) for one in listed}
            if self.answer["request_id"] in costs or time.monotonic() > deadline:
                return costs.get(self.answer["request_id"])
            await asyncio.sleep(_STEP_S)


class _Asking:
    """Asks with one organization's key. What is refused for the moment is a fault, and is asked again."""

    def __init__(self, stage: Stage, headers: dict[str, str]) -> None:
        self._stage = stage
        self._client = httpx2.AsyncClient(base_url=stage.installation.url, headers=headers, timeout=60.0)

    async def __aenter__(self) -> "_Asking":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def __call__(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The body of the answer; an AssertionError says what came in its place."""
        for _ in range(_TRIES):
            answer = await self._client.request(method, path, json=body, headers=headers)
            if answer.status_code not in _PASSING:
                break
            self._stage.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            await asyncio.sleep(1)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        found: dict[str, Any] = answer.json()
        return found
