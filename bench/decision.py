"""`python -m bench.decision`: how long a decision takes with outcomes in memory, and what the memory takes.

The catalog that ships is decided over; the embedding is given, not made. Questions are of a thousand made-up topics.
"""

import argparse
import asyncio
import time
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import psutil
import structlog
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Prompt, Role
from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_router.catalog.loader import load_catalog
from asahi_router.catalog.serving import serve_models, vendor_endpoints
from asahi_router.domain.candidates import Scale
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.decision import Decider, Past
from asahi_router.domain.escalation import Checks
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.evidence import TariffCosts
from asahi_router.domain.examples import Example, Judged, Pair
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import read_features
from asahi_router.domain.observations import Observations
from asahi_router.domain.signals import Answers
from asahi_router.domain.tariffs import Tariffs
from bench.machine import conditions, load_average

_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_DIMENSIONS = 384
_MODELS = ("gpt-6.1-sol", "gpt-6-luna", "gpt-6.1-terra", "claude-sonnet-5-5", "gpt-4.1-nano")
_DECISIONS = 5_000
Vectors = NDArray[np.float32]


class Given:
    """An `ExampleStore` with what it was made with."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        self._judged = list(judged)

    async def keep(self, examples: Sequence[Example]) -> None:
        """As `ExampleStore.keep`."""
        raise AssertionError("nothing is answered here")

    async def judged(self, since: datetime, most: int, organization_id: str = "") -> list[Judged]:
        """As `ExampleStore.judged`."""
        given, self._judged = self._judged[:most], self._judged[most:]
        return given

    async def signalled(self, since: datetime, most: int, organization_id: str = "") -> list[Example]:
        """As `ExampleStore.signalled`."""
        return []

    async def keep_pairs(self, pairs: Sequence[Pair]) -> None:
        """As `ExampleStore.keep_pairs`."""
        raise AssertionError("nothing is answered here")

    async def pairs(self, since: datetime, most: int, organization_id: str = "") -> list[Pair]:
        """As `ExampleStore.pairs`."""
        return []

    async def signal(self, organization_id: str, request_id: str, signal: str) -> None:
        """As `ExampleStore.signal`."""
        raise AssertionError("nothing is answered here")

    async def answers(self, organization_id: str, since: datetime) -> list[Answers]:
        """As `ExampleStore.answers`."""
        return []

    async def withdraw(self, organization_id: str, at: datetime) -> None:
        """As `ExampleStore.withdraw`."""
        raise AssertionError("nothing is shared here")

    async def erasures(self) -> Mapping[str, datetime]:
        """As `ExampleStore.erasures`."""
        return {}

    async def forget_unjudged(self, before: datetime) -> None:
        """As `ExampleStore.forget_unjudged`."""


def _prompt(number: int) -> Prompt:
    text = f"Question {number}: how do I mend the pump of a {number % 97} year old engine?\nA. with oil\nB. not at all"
    return Prompt(chat=ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text=text)])]))


def _embeddings(random: np.random.Generator, count: int) -> Vectors:
    middles = np.random.default_rng(0).normal(size=(1000, _DIMENSIONS))
    vectors = middles[random.integers(0, 1000, count)] + random.normal(size=(count, _DIMENSIONS))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _outcomes(count: int) -> list[Judged]:
    random = np.random.default_rng(1)
    embeddings, scores = _embeddings(random, count), random.random(count) < 0.8
    judged = []
    for number in range(count):
        form = array("f", read_features(_prompt(number)).form)  # as the store gives it
        at = datetime.fromtimestamp(_NOW.timestamp() - count + number, UTC)
        model = _MODELS[number % len(_MODELS)]
        example = Example("org", f"r{number}", model, form, embeddings[number].tobytes(), 400, 120, at)
        judged.append(Judged(example, float(scores[number]), at))
    return judged


async def _run(count: int) -> None:
    threadpool_limits(1, "blas")  # as the service does
    process, clock = psutil.Process(), ManualClock(_NOW)
    judged = _outcomes(count)
    known, prices = load_catalog(None), load_price_book()
    catalog = serve_models(known, vendor_endpoints("https://openai.test/v1", "https://anthropic.test"), "")
    scale = Scale(catalog, Tariffs(prices, _NOW), TokenEstimator(), Observations(known.models, clock))
    experience = Experience(Given(judged), TariffCosts(prices, clock), clock, structlog.get_logger(), count)
    decider = Decider(scale, lambda _provider, _model: True, clock, Past(experience, Conversations(clock), Checks()))
    tasks = [
        Task(organization_id="org", request_id=f"q{n}", prompt=_prompt(n), prompt_embedding=embedding.tobytes())
        for n, embedding in enumerate(_embeddings(np.random.default_rng(2), _DECISIONS))
    ]
    begun = time.perf_counter()
    await experience.catch_up()
    learned_s = time.perf_counter() - begun
    decider.decide(tasks[0], explain=False)
    await experience.catch_up()
    reason = decider.decide(tasks[0], explain=False).decision.reason
    took, worked = [], []
    for task in tasks:
        begun, used = time.perf_counter(), time.thread_time()
        decider.decide(task, explain=False)
        worked.append(1000 * (time.thread_time() - used))
        took.append(1000 * (time.perf_counter() - begun))
    print(f"{count} outcomes, {len(catalog.models)} models, a decision:")
    for name, values in (("by the clock", took), ("of the processor", worked)):
        p50, p99 = np.quantile(values, (0.5, 0.99))
        print(f"{name}: p50 {p50:.3f} ms, p99 {p99:.3f} ms")
    print(
        f"learned in {learned_s:.1f} s; the process takes {process.memory_info().rss / 2**20:.0f} MiB, outcomes twice"
    )
    print(reason)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.decision", description=__doc__)
    parser.add_argument("--outcomes", type=int, default=100_000)
    options = parser.parse_args()
    before = load_average()
    asyncio.run(_run(options.outcomes))
    print(conditions("python -m bench.decision", before))


if __name__ == "__main__":
    main()
