"""Circuit breakers: a model at a provider that keeps failing is left alone, but for a probe now and then.

Closed: calls go through; `threshold` failures in a row open it. Open: none do, for a time that doubles with every
failed probe. Half-open: one call at a time probes; its success closes the breaker.

A stream that breaks off when its caller has part of it is lost, for no other model can go on with it. So a provider
that breaks off streams in a row is asked after all others for a time, which grows alike, before its breakers open.
"""

from dataclasses import dataclass

from asahi_core.clock import Clock


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When breakers open, and for how long."""

    threshold: int = 5
    """Failures in a row that open it."""
    open_s: float = 5.0
    """How long it stays open at first."""
    longest_open_s: float = 60.0
    """How long it stays open at most, unless the provider itself asks for more."""
    broken_off: int = 2
    """Streams of a provider that break off in a row, after which it is asked last."""


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row, without a success between them."""
    open_until: float | None = None
    """Monotonic seconds; None: closed."""
    probing: bool = False


@dataclass(slots=True)
class _Suspicion:
    broken_off: int = 0
    """Streams in a row."""
    times: int = 0
    """That it was asked last, in a row."""
    until: float = 0.0
    """Monotonic seconds."""


class Breakers:
    """One breaker for each model at each provider. As many as the catalog has."""

    def __init__(self, clock: Clock, rules: BreakerRules = BreakerRules()) -> None:
        self._clock = clock
        self._rules = rules
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._suspicions: dict[str, _Suspicion] = {}

    def available(self, provider: str, model: str) -> bool:
        """Whether a call would go through now, and its answer would likely be whole."""
        suspicion = self._suspicions.get(provider)
        if suspicion is not None and self._clock.monotonic() < suspicion.until:
            return False
        breaker = self._breakers.get((provider, model))
        return breaker is None or self._lets_through(breaker)

    def admit(self, provider: str, model: str) -> bool:
        """Whether a call may be made. If so, `succeeded`, `failed` or `abandoned` must follow."""
        breaker = self._breakers.get((provider, model))
        if breaker is None:
            return True
        if not self._lets_through(breaker):
            return False
        breaker.probing = breaker.open_until is not None
        return True

    def retry_after_s(self, provider: str, model: str) -> float:
        """Seconds until a call may be made; 0: now."""
        breaker = self._breakers.get((provider, model))
        if breaker is None or breaker.open_until is None:
            return 0.0
        return max(0.0, breaker.open_until - self._clock.monotonic())

    def succeeded(self, provider: str, model: str) -> None:
        """A call answered."""
        self._breakers.pop((provider, model), None)

    def streamed(self, provider: str) -> None:
        """A stream came to its end."""
        self._suspicions.pop(provider, None)

    def broken_off(self, provider: str) -> None:
        """A stream broke off for the provider's sake when its caller had part of it; `failed` is told besides."""
        now, rules = self._clock.monotonic(), self._rules
        suspicion = self._suspicions.setdefault(provider, _Suspicion())
        suspicion.broken_off += 1
        if suspicion.broken_off >= rules.broken_off and now >= suspicion.until:
            suspicion.until = now + min(rules.longest_open_s, rules.open_s * 2.0**suspicion.times)
            suspicion.times += 1

    def failed(self, provider: str, model: str, retry_after_s: float | None = None) -> float | None:
        """A call failed for the provider's sake; `retry_after_s`: how long it asks to be left alone.

        Seconds for which this opened the breaker; None: it did not.
        """
        rules = self._rules
        breaker = self._breakers.setdefault((provider, model), _Breaker())
        breaker.failures += 1
        opens = breaker.probing or (breaker.open_until is None and breaker.failures >= rules.threshold)
        breaker.probing = False
        if not opens:
            return None
        pause_s = max(min(rules.longest_open_s, rules.open_s * 2.0**breaker.openings), retry_after_s or 0.0)
        breaker.openings += 1
        breaker.open_until = self._clock.monotonic() + pause_s
        return pause_s

    def abandoned(self, provider: str, model: str) -> None:
        """A call ended in a way that says nothing about the provider."""
        breaker = self._breakers.get((provider, model))
        if breaker is not None:
            breaker.probing = False

    def _lets_through(self, breaker: _Breaker) -> bool:
        if breaker.open_until is None:
            return True
        return not breaker.probing and self._clock.monotonic() >= breaker.open_until
