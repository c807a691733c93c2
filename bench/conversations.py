"""`python -m bench.conversations`: what conversations of 20 turns cost, by the router and without its memory of them.

The router's own decisions over the catalog and the prices that ship; providers keep prefixes as OpenAI does by itself
(from 1024 tokens on, in steps of 128, for five minutes) and bill them, what is written included, at the price book's
rates. With several seeds each difference has its 95 % interval (Student's t over seeds), and the router held where the
whole interval is at or below what it is compared with. Turns are of several
kinds of work, so that the cheapest model that reaches the asked quality is not the same at each.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import structlog

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Prompt, Role
from asahi.type.v1.routing_pb2 import Routing, RoutingPolicy
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
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import Features, read_features
from asahi_router.domain.observations import Observations
from asahi_router.domain.tariffs import Tariffs
from asahi_router.stores.opening import open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore

_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_TURNS = 20
_KEPT_S = 300.0
_LEAST, _STEP = 1024, 128
_MILLION = 1_000_000
_ASKED = {
    "chat": "Tell me more about it, please.",
    "code": "Write a Python function for it:\n```python\ndef f(x):\n    return x\n```",
    "math": "Solve the equation for x, step by step: 3 x + 5 = 20.",
    "summarization": "Summarize what was said so far.",
    "extraction": "Extract all names and dates from it as a list.",
}
"""A question of each kind, by the words that the router tells it by."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked, after how many seconds, and how long the answer is."""

    text: str
    after_s: float
    answer_tokens: int


class Provider:
    """Bills prompts of one conversation at one model after the other; the tokens are those that the router expects."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._kept: dict[str, tuple[float, int]] = {}

    def bill(self, model: str, asked_bytes: int, answer_tokens: int, at_s: float) -> float:
        """Nano-dollars of a question that begins with all questions before it."""
        tokens = self._scale.tokens.input_tokens(model, asked_bytes)
        rates = self._scale.tariffs.rates(model, tokens)
        assert rates is not None, f"{model} has no price"
        since, size = self._kept.get(model, (-_KEPT_S - 1, 0))
        read = size if at_s - since <= _KEPT_S else 0
        kept = max(read, tokens // _STEP * _STEP)
        if kept >= _LEAST:
            self._kept[model] = (at_s, kept)
        else:
            kept = 0
        thought = next(s.model.median_reasoning_tokens for s in self._scale.catalog.models if s.model.id == model)
        written = (answer_tokens + thought) * rates.output
        asked = read * rates.cache_read + (kept - read) * rates.cache_write_5m + (tokens - kept) * rates.input
        return (asked + written) / _MILLION


def conversation(random: Random) -> list[Turn]:
    """Twenty turns of mixed work; the first brings a text of some pages."""
    turns = []
    for number in range(_TURNS):
        kind = random.choice(tuple(_ASKED))
        words = random.randrange(300, 3000) if number == 0 else random.randrange(20, 300)
        text = " ".join(random.choice(("pump", "oil", "engine", "valve", "of", "the")) for _ in range(words))
        turns.append(Turn(f"{text}\n\n{_ASKED[kind]}", random.uniform(5, 120), random.randrange(60, 500)))
    return turns


Choose = Callable[[Task, ManualClock], str]


def cost_of(turns: list[Turn], scale: Scale, clock: ManualClock, choose: Choose) -> tuple[float, int]:
    """Nano-dollars of a conversation, and how often its model changed."""
    provider, messages, cost, models = Provider(scale), [], 0.0, []
    for turn in turns:
        clock.advance(turn.after_s)
        messages.append(Message(role=Role.ROLE_USER, parts=[ContentPart(text=turn.text)]))
        prompt = Prompt(chat=ChatRequest(messages=messages))
        model = choose(Task(organization_id="org", request_id="r", prompt=prompt), clock)
        models.append(model)
        cost += provider.bill(model, read_features(prompt).asked_bytes, turn.answer_tokens, clock.monotonic())
        said = "word " * turn.answer_tokens
        messages.append(Message(role=Role.ROLE_ASSISTANT, parts=[ContentPart(text=said)]))
    return cost, sum(one != other for one, other in pairwise(models))


def by_router(
    scale: Scale, clock: ManualClock, store: SqlOutcomeStore, quality: float, allowed: list[str], *, remembers: bool
) -> Choose:
    """The router's choice without any outcome; `remembers`: it is told who answered what."""
    conversations = Conversations(clock)
    experience = Experience(store, TariffCosts(load_price_book(), clock), clock, structlog.get_logger(), 1000)
    decider = Decider(scale, lambda _provider, _model: True, clock, Past(experience, conversations, Checks()))

    def choose(task: Task, clock: ManualClock) -> str:
        task.policy.CopyFrom(RoutingPolicy(allowed_models=allowed))
        task.routing.CopyFrom(Routing(quality_threshold=quality))
        ranking = decider.decide(task, explain=False)
        features: Features = ranking.features
        if remembers:
            model = ranking.decision.model
            conversations.answered(task.organization_id, features.thread, model, features.asked_bytes)
        return ranking.decision.model

    return choose


@dataclass(frozen=True, slots=True)
class Costs:
    """Dollars of the same conversations."""

    router: float
    changes: float
    """Of the model, in a conversation."""
    without_memory: float
    """By the router that is not told who answered what."""
    best_constant: float
    """By the cheapest model that reaches the quality at every kind of work, known afterwards."""
    constant: str

    def above(self, other: float) -> float:
        """By which part of `other` the router was dearer."""
        return self.router / other - 1


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and how far the 95 % interval goes to either side of it; of one value it is infinite."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, float("inf")
    z, freedom = statistics.NormalDist().inv_cdf(0.975), len(values) - 1
    # Student's t by its expansion in 1 / freedom (Abramowitz and Stegun, 26.7.5).
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return mean, t * statistics.stdev(values) / len(values) ** 0.5


def verdict(values: Sequence[float]) -> str:
    """What the differences of all seeds say, in words."""
    mean, either_side = interval(values)
    held = "held" if mean + either_side <= 0 else "dearer" if mean - either_side > 0 else "open"
    return f"{mean:+.2%} ± {either_side:.2%} ({held})"


def costs(store: SqlOutcomeStore, conversations: int, quality: float, seed: int, allowed: list[str]) -> Costs:
    """What so many conversations cost in which each turn asks for this quality."""
    known, prices = load_catalog(None), load_price_book()
    catalog = serve_models(known, vendor_endpoints("https://openai.test/v1", ""), "")
    random = Random(seed)
    each = [conversation(random) for _ in range(conversations)]

    def fresh() -> tuple[Scale, ManualClock]:
        clock = ManualClock(_NOW)
        return Scale(catalog, Tariffs(prices, _NOW), TokenEstimator(), Observations(known.models, clock)), clock

    def total(choose_at: Callable[[Scale, ManualClock], Choose]) -> tuple[float, float]:
        scale, clock = fresh()
        choose = choose_at(scale, clock)
        sums = [cost_of(turns, scale, clock, choose) for turns in each]
        return sum(cost for cost, _ in sums) / 1e9, sum(changes for _, changes in sums) / conversations

    constants = {}
    scale, _ = fresh()
    for served in catalog.models:
        name = served.model.id
        enough = all(served.model.quality_at(kind) >= quality for kind in _ASKED)
        if enough and served.provider and scale.tariffs.rates(name, 1) and (not allowed or name in allowed):
            constants[name] = total(lambda _scale, _clock, name=name: lambda _task, _at: name)[0]  # type: ignore[misc]
    best = min(constants, key=lambda name: constants[name])
    pinned, changes = total(lambda scale, clock: by_router(scale, clock, store, quality, allowed, remembers=True))
    loose, _ = total(lambda scale, clock: by_router(scale, clock, store, quality, allowed, remembers=False))
    return Costs(pinned, changes, loose, constants[best], best)


def main() -> None:
    """Ask, bill and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.conversations", description=__doc__)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument(
        "--quality", type=float, action="append", help="asked of every turn; several: one after another"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--allow", action="append", default=[], help="only these models")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, closing(open_outcomes(Path(folder), "", migrate_first=True)) as store:
        for quality in options.quality or (3.5, 4.0, 4.3, 4.5, 4.6, 4.7, 4.75):
            seeds = range(options.seed, options.seed + options.seeds)
            told = [costs(store, options.conversations, quality, seed, options.allow) for seed in seeds]
            constant = "/".join(dict.fromkeys(one.constant for one in told))
            print(
                f"quality {quality}: router ${statistics.fmean(one.router for one in told):.4f} "
                f"({statistics.fmean(one.changes for one in told):.1f} changes a conversation), "
                f"against {constant} always {verdict([one.above(one.best_constant) for one in told])}, "
                f"against no memory of them {verdict([one.above(one.without_memory) for one in told])}",
                flush=True,
            )


if __name__ == "__main__":
    main()
