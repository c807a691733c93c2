"""`python -m tests.faults.started`: a service as a process whose clock the rig moves, or that lacks one safeguard.

The rig proves with the second that it would see what the safeguard prevents. The product has no such switches: here
methods are replaced before the service's own `main` runs.
"""

import asyncio
import mmap
import os
import runpy
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from asahi_core.clock import SystemClock

MODULE, CLOCK, WITHOUT = "FAULTS_MODULE", "FAULTS_CLOCK", "FAULTS_WITHOUT"
"""Variables: the service's module, the file of its clock, the safeguard that it lacks."""
_OFFSET = struct.Struct("<d")
_LATE_S = 1.5


def move_clock(file: Path, seconds: float) -> None:
    """Sets by how much the wall clock of the process that has `file` is wrong."""
    with file.open("r+b" if file.exists() else "wb") as clock:
        clock.write(_OFFSET.pack(seconds))


def _follow_clock(file: Path) -> None:
    with file.open("rb") as clock:
        offset = mmap.mmap(clock.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)

    def now(_self: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=_OFFSET.unpack_from(offset)[0])

    patch.object(SystemClock, "now", now).start()


def _without_records_before_the_last_byte() -> None:
    from asahi.billing.v1.billing_pb2 import UsageRecord  # noqa: PLC0415 - only an edge has it
    from asahi_edge.domain.usage import UsageDelivery  # noqa: PLC0415

    async def settle(self: UsageDelivery, record: UsageRecord, **_: object) -> bool:
        asyncio.get_running_loop().call_later(_LATE_S, self._append, [record])
        return True

    patch.object(UsageDelivery, "settle", settle).start()


def _without_hand_over() -> None:
    from asahi_edge.domain import pipeline  # noqa: PLC0415 - only an edge has it

    patch.object(pipeline, "_was_others_misfortune", lambda _flight, _request: False).start()


def _without_idempotency() -> None:
    from asahi_cache.domain.replays import Replay  # noqa: PLC0415 - only a cache has it
    from asahi_cache.stores import replays  # noqa: PLC0415

    async def begin(_self: object, replay: Replay, _now_ns: int) -> Replay:
        return replay

    patch.object(replays.SqlReplayStore, "begin", begin).start()


SAFEGUARDS: dict[str, tuple[str, Callable[[], None], str]] = {
    "record before the last byte": ("edge", _without_records_before_the_last_byte, "reached its caller"),
    "hand-over of flights": ("edge", _without_hand_over, "upstream_interrupted"),
    "idempotency": ("cache", _without_idempotency, "Idempotency-Key"),
}
"""What can be left out: in which service, how, and what is in the words of the fault that is then to be seen."""


def main() -> None:
    """Runs the service."""
    _follow_clock(Path(os.environ.pop(CLOCK)))
    module, without = os.environ.pop(MODULE), os.environ.pop(WITHOUT, "")
    if without:
        SAFEGUARDS[without][1]()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
