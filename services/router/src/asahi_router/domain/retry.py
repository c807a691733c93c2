"""When a failed call is made again: how often, and after which pause."""

from collections.abc import Callable
from dataclasses import dataclass

_EARNED = 0.2


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How retries behave."""

    per_candidate: int = 2
    """Calls to the same model after the first."""
    base_s: float = 0.1
    """Longest first pause; doubles with each retry."""
    longest_s: float = 2.0
    """Longest pause that is not the provider's own wish."""
    patience_s: float = 10.0
    """Longest pause that a provider may ask for, where no other model could answer."""
    patience_with_others_s: float = 0.5
    """The same where another could."""
    budget: float = 10.0
    """Retries that a provider may be owed at once. Each answer earns a fifth of one."""


class RetryBudget:
    """Keeps retries a small share of all calls, so that they never add to a provider's trouble."""

    def __init__(self, size: float) -> None:
        self._size = size
        self._left: dict[str, float] = {}

    def earn(self, provider: str) -> None:
        """A call answered."""
        left = self._left.get(provider)
        if left is not None:
            self._left[provider] = min(self._size, left + _EARNED)

    def spend(self, provider: str) -> bool:
        """Whether a retry may be made; if so, it is counted."""
        left = self._left.get(provider, self._size)
        if left < 1:
            return False
        self._left[provider] = left - 1
        return True


class RetryPolicy:
    """Decides about retries of the same model."""

    def __init__(self, rules: RetryRules, random: Callable[[], float]) -> None:
        """`random` yields numbers in [0, 1)."""
        self._rules = rules
        self._random = random
        self._budget = RetryBudget(rules.budget)

    def answered(self, provider: str) -> None:
        """A call answered."""
        self._budget.earn(provider)

    def pause_s(
        self, provider: str, failures: int, retry_after_s: float | None, left_s: float, *, others: bool
    ) -> float | None:
        """Seconds to wait before the same model is asked again; None: it is not.

        Exponential back-off with full jitter, never sooner than the provider asks. `failures`: of this model so far;
        `left_s`: what is left of the call's time; `others`: another model could answer.
        """
        rules = self._rules
        if failures > rules.per_candidate:
            return None
        pause_s = self._random() * min(rules.longest_s, rules.base_s * 2.0 ** (failures - 1))
        if retry_after_s is not None:
            patience_s = rules.patience_with_others_s if others else rules.patience_s
            if retry_after_s > patience_s:
                return None
            pause_s = max(pause_s, retry_after_s)
        if pause_s > left_s / 2 or not self._budget.spend(provider):
            return None
        return pause_s
