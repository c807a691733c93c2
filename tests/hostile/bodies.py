"""Wrong bodies by the thousand, over HTTP and gRPC, noted in a file so that the next run goes on where one ended."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.grpc_bodies import send_wrongly
from tests.hostile.http_bodies import ask_wrongly
from tests.installation import Installation

_BATCH = 1000
_OVER_GRPC = 300
"""So many of each batch."""


@dataclass(slots=True)
class Sent:
    """What was sent in all runs, and what came of it."""

    earlier: int = 0
    now: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{status} {count}" for status, count in self.statuses.most_common())


async def send_all(installation: Installation, count: int, seed: int, kept: Path) -> Sent:
    """Sends so many bodies, but the thousands that the file says were sent; seed and number make a body."""
    sent, known = Sent(), _read(kept)
    over_http, over_grpc = installation.signup("Hostile over HTTP"), installation.signup("Hostile over gRPC")
    governor = installation.signup("Hostile governor")
    for first in range(0, count, _BATCH):
        size = min(_BATCH, count - first)
        found = known.get((seed, first, size))
        if found is None:
            calls = range(first, first + size * _OVER_GRPC // _BATCH)
            asked = await ask_wrongly(over_http, governor, range(calls.stop, first + size), seed)
            called = await send_wrongly(over_grpc, calls, seed)
            found = Sent(0, size, asked.statuses + called.statuses, asked.faults + called.faults)
            _note(kept, seed, first, found)
            sent.now += size
        else:
            sent.earlier += size
        sent.statuses += found.statuses
        sent.faults += found.faults
    return sent


def _read(kept: Path) -> dict[tuple[int, int, int], Sent]:
    lines = kept.read_text().splitlines() if kept.exists() else []
    notes = [json.loads(line) for line in lines]
    return {
        (note["seed"], note["first"], note["count"]): Sent(
            0, note["count"], Counter(note["statuses"]), list(note["faults"])
        )
        for note in notes
    }


def _note(kept: Path, seed: int, first: int, found: Sent) -> None:
    note = {"seed": seed, "first": first, "count": found.now, "statuses": found.statuses, "faults": found.faults}
    with kept.open("a") as file:
        file.write(json.dumps(note) + "\n")
