"""What is broken when: drawn from a seed, so that the same seed always breaks the same things at the same instants."""

from dataclasses import dataclass
from random import Random
from typing import Literal

WINDOW_S = 8.0
"""Faults begin within it."""
EDGES = ("edge", "edge2")
BEHIND = ("auth", "cache", "router", "billing")
LINKS = (
    *(f"{edge}>{service}" for edge in EDGES for service in BEHIND),
    *(f"{edge}>redis" for edge in EDGES),
    "router>billing",
    "router>provider",
)
"""Connections that pass through a proxy of the rig."""
SERVER_LINKS = ("cache>redis", "auth>postgresql", "cache>postgresql", "billing>postgresql")
"""Those that are there besides where stores are servers."""
Kind = Literal[
    "kill", "freeze", "roll out", "slow", "cut", "silent", "full disk", "clock", "provider", "redis", "postgresql"
]
_PROVIDER = (
    {"mode": "status", "params": {"status": 500}},
    {"mode": "status", "params": {"status": 429, "retry_after_s": 0}},
    {"mode": "cut", "params": {"after_tokens": 5}},
    {"mode": "drop"},
    {"mode": "malformed", "params": {"after_tokens": 5}},
    {"mode": "truncated", "params": {"after_tokens": 5}},
    {"mode": "content_filter", "params": {"after_tokens": 5}},
    {"mode": "slow", "params": {"first_token_ms": 800, "tokens_per_second": 100}},
)
"""How the provider fails: rules of the simulator, without their probability."""
_SEMANTIC = 3
"""One of so many seeds looks for similar questions."""
_JUMPS_S = (-3600.0, -5.0, 5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is broken, and mended after `for_s`. `amount`: seconds of delay or of a jump, or a share."""

    at_s: float
    kind: Kind
    target: str
    for_s: float
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{self.at_s:.1f} s: {self.kind} {self.target}{amount} for {self.for_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A seed's faults, oldest first.

    `servers`: stores are PostgreSQL and a shared Redis; else embedded. `semantic`: similar questions are looked for, in
    embedded Qdrant.
    """

    seed: int
    servers: bool
    semantic: bool
    faults: tuple[Fault, ...]


def schedule_of(seed: int) -> Schedule:
    """The schedule of a seed: four to eight faults over eight seconds."""
    random = Random(seed)
    servers = random.random() < 0.5
    faults = [_fault(random, servers=servers) for _ in range(random.randint(4, 8))]
    semantic = seed % _SEMANTIC == 0
    return Schedule(seed, servers, semantic, tuple(sorted(faults, key=lambda fault: fault.at_s)))


def provider_rule(fault: Fault) -> dict[str, object]:
    """What the simulator is told."""
    return {**_PROVIDER[int(fault.target)], "probability": fault.amount}


def _fault(random: Random, *, servers: bool) -> Fault:
    weights: list[tuple[Kind, int]] = [
        *(("kill", 6), ("freeze", 3), ("roll out", 3), ("slow", 2), ("cut", 3), ("silent", 2)),
        *(("full disk", 3), ("clock", 2), ("provider", 4), ("redis", 2), ("postgresql", 2 if servers else 0)),
    ]
    kinds = dict(weights)
    (kind,) = random.choices(list(kinds), weights=list(kinds.values()))
    at_s = round(random.uniform(0.0, WINDOW_S), 2)
    short_s, long_s = round(random.uniform(0.1, 1.5), 2), round(random.uniform(0.5, 3.0), 2)
    target, for_s, amount = str(kind), long_s, 0.0
    match kind:
        case "kill" | "roll out":
            target, for_s = random.choice((*EDGES, *BEHIND)), short_s
        case "freeze":
            target = random.choice((*EDGES, *BEHIND))
        case "slow" | "cut" | "silent":
            target = random.choice((*LINKS, *(SERVER_LINKS if servers else ())))
            amount = round(random.uniform(0.02, 0.4), 2) if kind == "slow" else 0.0
        case "full disk":
            target, for_s = random.choice((*EDGES, *(() if servers else BEHIND))), short_s
        case "clock":
            target, amount = random.choice((*EDGES, *BEHIND)), random.choice(_JUMPS_S)
        case "provider":
            amount = round(random.uniform(0.3, 1.0), 2)
            target = str(random.randrange(len(_PROVIDER)))
    return Fault(at_s, kind, target, for_s, amount)
