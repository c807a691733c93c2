"""Limits counted in this process: exact for one edge, and what each of several falls back on."""

from collections import OrderedDict
from dataclasses import dataclass, field

from asahi_core.clock import Clock
from asahi_edge.domain.limits import WINDOW_S, Decision, Demand, Limit, Standing, settles_nothing


@dataclass(slots=True)
class _Window:
    """Counts by second, oldest first; none is older than the window."""

    counts: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def forget(self, second: int) -> None:
        while self.counts:
            oldest = next(iter(self.counts))
            if oldest > second - WINDOW_S:
                return
            self.total -= self.counts.pop(oldest)

    def add(self, second: int, amount: int) -> None:
        self.counts[second] = self.counts.get(second, 0) + amount
        self.total += amount

    def free_at(self, excess: int) -> int:
        """The second in which `excess` of what is counted will have left the window."""
        for second, count in self.counts.items():
            excess -= count
            if excess <= 0:
                return second + WINDOW_S
        return next(reversed(self.counts), 0) + WINDOW_S


class MemoryLimits:
    """Decides at once. Keeps at most `capacity` windows of end users, and forgets those first that rested longest."""

    def __init__(self, clock: Clock, *, capacity: int = 100_000) -> None:
        self._clock = clock
        self._capacity = capacity
        # End users are many and named by callers: they must not drive out what is counted for organisations and keys.
        self._users: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._others: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    async def admit(self, demand: Demand) -> Decision:
        """Decides over all limits of `demand` at once."""
        return self.decide(demand)

    def decide(self, demand: Demand, *, force: bool = False) -> Decision:
        """The same without waiting; `force` admits in any case, for what was admitted elsewhere."""
        now = self._clock.monotonic()
        second = int(now)
        self._forget_rested(second)
        windows = [self._window(demand.organization_id, limit, second) for limit in demand.limits]
        asked = list(zip(demand.limits, windows, strict=True))
        if not force:
            refused_by, free_at = None, 0
            for limit, window in asked:
                excess = window.total + demand.amount(limit) - limit.per_minute
                if excess > 0 and (at := window.free_at(excess)) > free_at:
                    refused_by, free_at = limit, at
            if refused_by is not None:
                return Decision(_standings(asked, now), settles_nothing, refused_by, free_at - now)
        reserved: list[tuple[_Window, int]] = []
        for limit, window in asked:
            amount = demand.amount(limit)
            window.add(second, amount)
            if limit.unit == "tokens":
                reserved.append((window, amount))

        def settle(tokens: int) -> None:
            for window, amount in reserved:
                if second in window.counts:
                    window.add(second, tokens - amount)

        return Decision(_standings(asked, now), settle)

    def __len__(self) -> int:
        return len(self._users) + len(self._others)

    def _window(self, organization_id: str, limit: Limit, second: int) -> _Window:
        kept = self._users if ":u:" in limit.window else self._others
        name = organization_id, limit.window
        window = kept.get(name)
        if window is None:
            window = kept[name] = _Window()
        else:
            kept.move_to_end(name)
            window.forget(second)
        return window

    def _forget_rested(self, second: int) -> None:
        """Drops of each kind the window that rested longest, if nothing is left in it or there are too many users."""
        for kept in (self._users, self._others):
            if kept:
                name, oldest = next(iter(kept.items()))
                oldest.forget(second)
                if not oldest.counts or (kept is self._users and len(kept) >= self._capacity):
                    del kept[name]


def _standings(asked: list[tuple[Limit, _Window]], now: float) -> tuple[Standing, ...]:
    return tuple(
        Standing(limit, window.total, max(0.0, next(reversed(window.counts), now - WINDOW_S) + WINDOW_S - now))
        for limit, window in asked
    )
