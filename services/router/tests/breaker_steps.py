"""Any sequence of calls and pauses against breakers, beside a model that keeps nothing but what happened."""

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asahi_core.clock import ManualClock
from asahi_router.domain.breaker import BreakerRules, Breakers

_RULES = BreakerRules(threshold=3, open_s=5.0, longest_open_s=40.0)
_MODELS = ("sol", "luna")
_models = st.sampled_from(_MODELS)


@dataclass
class _Fate:
    """What the model knows of one breaker."""

    failures: int = 0
    pause_s: float = 0.0
    """How long it was opened for last; 0: it is closed."""
    opened_at: float = 0.0
    under_way: int = 0
    """Calls that were let through and have not ended."""
    probing: bool = False


class BreakerSteps(RuleBasedStateMachine):
    """Calls begin when they may, and end in some way, arbitrarily late."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._clock = ManualClock()
        self._breakers = Breakers(self._clock, _RULES)
        self._fates = {model: _Fate() for model in _MODELS}

    @rule(model=_models)
    def call(self, model: str) -> None:
        fate = self._fates[model]
        expected = self._lets_through(fate)
        assert self._breakers.available("p", model) == expected
        assert self._breakers.admit("p", model) == expected
        if expected:
            fate.under_way += 1
            fate.probing = fate.pause_s > 0

    @rule(model=_models)
    def answer(self, model: str) -> None:
        fate = self._fates[model]
        if fate.under_way:
            self._breakers.succeeded("p", model)
            self._fates[model] = _Fate(under_way=fate.under_way - 1)

    @rule(model=_models, asked_s=st.sampled_from([None, None, 0.0, 2.0, 90.0]))
    def fail(self, model: str, asked_s: float | None) -> None:
        fate = self._fates[model]
        if not fate.under_way:
            return
        self._breakers.failed("p", model, asked_s)
        fate.under_way -= 1
        fate.failures += 1
        if fate.probing or (not fate.pause_s and fate.failures >= _RULES.threshold):
            doubled = 2 * fate.pause_s if fate.pause_s else _RULES.open_s
            fate.pause_s = min(_RULES.longest_open_s, doubled)
            fate.opened_at = self._clock.monotonic() + max(0.0, (asked_s or 0.0) - fate.pause_s)
        fate.probing = False

    @rule(model=_models)
    def leave(self, model: str) -> None:
        fate = self._fates[model]
        if fate.under_way:
            self._breakers.abandoned("p", model)
            fate.under_way -= 1
            fate.probing = False

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 10.0, 40.0, 100.0]))
    def pause(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @invariant()
    def nobody_is_locked_out_for_ever(self) -> None:
        self.steps += 1
        for model, fate in self._fates.items():
            left_s = self._breakers.retry_after_s("p", model)
            assert left_s <= 90.0
            if not fate.probing:
                assert self._breakers.available("p", model) == (left_s == 0.0)

    def _lets_through(self, fate: _Fate) -> bool:
        if not fate.pause_s:
            return True
        return not fate.probing and self._clock.monotonic() >= fate.opened_at + fate.pause_s
