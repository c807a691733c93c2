"""The provider's own count: every call that reached it, and what it billed for each."""

from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from asahi_core.prices import PriceBook
from asahi_simulator.domain.bill import Bill
from asahi_simulator.domain.completion import Usage
from asahi_simulator.domain.rules import Api, Mode

Outcome = Literal["under_way", "answered", "error", "cut", "client_left"]
_BILLED = (
    "prompt_tokens",
    "cached_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "completion_tokens",
    "reasoning_tokens",
)


class Call(msgspec.Struct, kw_only=True):
    """One call. Tokens are those billed so far: they count up while an answer is generated.

    `reported` is the usage that the caller was told at the end, if any; `status` is 0 as long as nothing was sent.
    `started_at` is in seconds since 1970; `key` names the caller's key without telling it.
    `outcome`: `cut` was closed by the simulator, `client_left` by the caller before the last token.
    `text_sha256` is of the whole text that was written, however much of it was sent; empty: it had no natural end.
    """

    number: int
    api: Api
    path: str
    model: str = ""
    stream: bool = False
    request_id: str
    attempt: str
    idempotency_key: str
    provider_request_id: str
    started_at: float = 0.0
    key: str = ""
    mode: Mode | None = None
    status: int = 0
    outcome: Outcome = "under_way"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    text_sha256: str = ""
    reported: Usage | None = None

    def bill_prompt(self, usage: Usage) -> None:
        """Takes the prompt's part of `usage` over."""
        self.prompt_tokens = usage.prompt_tokens
        self.cached_tokens = usage.cached_tokens
        self.cache_write_5m_tokens = usage.cache_write_5m_tokens
        self.cache_write_1h_tokens = usage.cache_write_1h_tokens


class CallLog:
    """The newest calls, and totals over all of them."""

    def __init__(self, keep: int, prices: PriceBook) -> None:
        self._keep = keep
        self._prices = prices
        self._calls: deque[Call] = deque()
        self._forgotten: dict[str, int] = {}
        self._numbers = 0
        self._billed = Bill(prices)
        """For calls that are not kept any more."""

    def next_number(self) -> int:
        """The number of the next call, from 1; never given twice."""
        self._numbers += 1
        return self._numbers

    def add(self, call: Call) -> None:
        """Keeps `call`, which may still change; the oldest is folded into the totals when there are too many."""
        self._calls.append(call)
        if len(self._calls) > self._keep:
            oldest = self._calls.popleft()
            _count(self._forgotten, [oldest])
            self._billed.add(oldest)

    def bill(self) -> Bill:
        """What was charged for all calls since the last `clear`."""
        bill = self._billed.copy()
        for call in self._calls:
            bill.add(call)
        return bill

    def totals(self) -> dict[str, int]:
        """Calls, calls by outcome, and billed tokens, since the last `clear`."""
        totals = dict.fromkeys(("calls", "under_way", "answered", "error", "cut", "client_left", *_BILLED), 0)
        totals |= self._forgotten
        _count(totals, self._calls)
        return totals

    def newest(self, *, after: int, request_id: str | None, limit: int) -> list[Call]:
        """At most `limit` kept calls with numbers over `after`, oldest first; of one caller's request if given."""
        found = (
            call
            for call in self._calls
            if call.number > after and (request_id is None or call.request_id == request_id)
        )
        return [call for call, _ in zip(found, range(limit), strict=False)]

    def clear(self) -> None:
        """Forgets all calls; those under way are no longer listed."""
        self._calls.clear()
        self._forgotten.clear()
        self._billed = Bill(self._prices)


def _count(totals: dict[str, int], calls: Iterable[Call]) -> None:
    for call in calls:
        for name in ("calls", call.outcome):
            totals[name] = totals.get(name, 0) + 1
        for name in _BILLED:
            totals[name] = totals.get(name, 0) + getattr(call, name)
