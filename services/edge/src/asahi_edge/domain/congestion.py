"""Whether work waits for the processor: here, or at the router. Only that is a reason to let fewer requests in.

How long requests take says nothing of it: providers take seconds, budgets wait for a database.
"""

import asyncio
from statistics import median_low

from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_edge.domain.admission import Admission

_SAMPLE_S = 0.02
_WINDOW_S = 0.1
_FEWEST = 2
"""Samples of a window, at least: one long step is no congestion."""
_LATE_S = 0.025
"""The event loop is behind if half of its timers are later: a request passes through it about ten times."""
_UNDECIDED_S = 0.1
"""The router is behind if half of its decisions take longer: each takes a millisecond when nothing waits."""
_FEW = 4
"""Decisions of which nothing is concluded."""
_TOLD_S = 1.0
_LEAST_SHARE, _MOST_SHARE = 0.5, 0.9
"""So much of what was let in before is let in while work waits: less, the longer it waits, within these bounds."""


class Congestion:
    """Watches delays by their median over 0.1 s, and adapts an admission."""

    def __init__(self, admission: Admission, clock: Clock, log: FilteringBoundLogger) -> None:
        self._admission = admission
        self._clock = clock
        self._log = log
        self._late_s: list[float] = []
        self._undecided_s: list[float] = []
        self._told_refused = 0
        self._told_at = self._adapted_at = clock.monotonic()

    async def run(self) -> None:
        """Watches for good."""
        while True:
            began = self._clock.monotonic()
            await asyncio.sleep(_SAMPLE_S)
            self.was_late(self._clock.monotonic() - began - _SAMPLE_S)

    def was_late(self, seconds: float) -> None:
        """A timer of the event loop fired so much later than it should have."""
        self._late_s.append(seconds)
        now = self._clock.monotonic()
        if len(self._late_s) >= _FEWEST and now - self._adapted_at >= _WINDOW_S:
            undecided_s = median_low(self._undecided_s) if len(self._undecided_s) >= _FEW else 0.0
            excess = max(median_low(self._late_s) / _LATE_S, undecided_s / _UNDECIDED_S)
            if excess > 1:
                self._admission.relieve(min(_MOST_SHARE, max(_LEAST_SHARE, 1 / excess)))
            else:
                self._admission.recover()
            self._late_s.clear()
            self._undecided_s.clear()
            self._adapted_at = now
            self._tell(now)

    def was_decided(self, seconds: float) -> None:
        """The router took so long to choose a model."""
        self._undecided_s.append(seconds)

    def _tell(self, now: float) -> None:
        """One line in the log for all that were refused lately: one for each would take what refusing saves."""
        admission = self._admission
        refused = admission.refused - self._told_refused
        if refused and now - self._told_at >= _TOLD_S:
            self._log.warning("overloaded", refused=refused, under_way=admission.under_way, limit=admission.limit)
            self._told_refused, self._told_at = admission.refused, now
