"""Which model answered a conversation last, and how much of it that model's provider still has in its prompt cache.

An estimate that the expected cost of a decision needs, no more: a conversation is known by how it begins, its next
question has all of the one before in front, and providers keep a prefix for minutes. As many as fit are remembered, in
this process: where another one answered last, the whole prompt is expected to be billed.
"""

from collections import OrderedDict
from dataclasses import dataclass

from asahi_core.clock import Clock

_KEPT_S = 300.0
"""How long providers keep a prefix that nobody asks for, at least (OpenAI: 5 to 10 minutes; Anthropic: 5)."""
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a provider has seen already of a question."""

    model: str
    """Catalog id of the model that answered last."""
    size: int
    """Bytes of the question that it was asked then."""


class Conversations:
    """The conversations of the last minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: OrderedDict[tuple[str, bytes], tuple[float, Prefix]] = OrderedDict()

    def answered(self, organization_id: str, thread: bytes, model: str, asked_bytes: int) -> None:
        """`model` answered a question of so many bytes that begins like `thread`."""
        key = organization_id, thread
        self._last[key] = self._clock.monotonic(), Prefix(model, asked_bytes)
        self._last.move_to_end(key)
        if len(self._last) > _MOST:
            self._last.popitem(last=False)

    def prefix(self, organization_id: str, thread: bytes, asked_bytes: int) -> Prefix | None:
        """What is kept of a question of so many bytes; None: nothing."""
        at, prefix = self._last.get((organization_id, thread), (0.0, None))
        if prefix is None or asked_bytes <= prefix.size or self._clock.monotonic() - at > _KEPT_S:
            return None
        return prefix
