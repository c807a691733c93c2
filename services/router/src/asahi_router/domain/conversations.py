"""Which models answered a conversation lately, and how much of it each one's provider still has in its prompt cache.

An estimate that the expected cost of a decision needs, no more: a conversation is known by how it begins, its next
question has all of the one before in front, and providers keep a prefix for minutes. As many as fit are remembered, in
this process: where another one answered, the whole prompt is expected to be billed.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from asahi_core.clock import Clock

_KEPT_S = 300.0
"""How long providers keep a prefix that nobody asks for, at least (OpenAI: 5 to 10 minutes; Anthropic: 5)."""
_MOST = 20_000
_MOST_MODELS = 4
"""Of one conversation."""

_FORGETS = 0.995
_FORGETS_GAP = 0.95
_MOST_FURTHER = 20.0
_RARE = 0.01
_STAYS = 4.0
"""Turns that are taken to have been answered by a conversation's last model, beside those that were seen."""

Prefixes = dict[str, int]
"""Bytes of the question that each model was asked last, by catalog id; the one that answered last at the end."""


@dataclass(slots=True)
class _Conversation:
    turns: int = 0
    models: dict[str, tuple[float, int, bool]] = field(default_factory=dict)
    """The one that answered last at the end: when, the bytes it was asked, and whether its provider keeps them."""


@dataclass(slots=True)
class _Habit:
    """How many first, second and further turns an organisation had.

    At first as if it had five conversations of 2.5 turns, the mean of a million public ones (Zhao et al., WildChat,
    2024).
    """

    first: float = 5.0
    second: float = 2.0
    further: float = 6.0
    gap_s: float = 60.0
    """Usual time between two turns."""
    models: dict[str, float] = field(default_factory=dict)
    """How many turns after the first each model answered."""

    def count(self, turn: int, model: str, gap_s: float) -> None:
        """Of a conversation; `gap_s`: seconds since the turn before, if there was one."""
        self.first *= _FORGETS
        self.second *= _FORGETS
        self.further *= _FORGETS
        self.first += turn == 1
        self.second += turn == 2
        self.further += turn > 2
        if turn > 1:
            self.models = {name: kept for name, n in self.models.items() if (kept := n * _FORGETS) > _RARE}
            self.models[model] = self.models.get(model, 0.0) + 1
            self.gap_s = _FORGETS_GAP * self.gap_s + (1 - _FORGETS_GAP) * gap_s

    def expected_after(self, turn: int) -> float:
        """Turns that follow the turn with that number, each as likely as the one before once there was a second."""
        again = (self.further + 0.5) / (self.second + self.further + 1)
        begins = min(1.0, self.second / self.first) if turn == 1 else again
        return min(_MOST_FURTHER, begins / max(1 - again, 1e-6))

    def again(self, turns: float, last: str) -> dict[str, float]:
        """How much it counts that a model has read a question: how likely one of so many later turns asks it in time.

        A model's part of the turns is squared: what conversations share out among models pays for each one's prefix.
        `last`: the model that answered last; empty: none did.
        """
        in_time = min(turns, _KEPT_S / max(self.gap_s, 1.0))
        parts = self.models | ({last: self.models.get(last, 0.0) + _STAYS} if last else {})
        whole = sum(parts.values())
        return {model: 1 - (1 - (part / whole) ** 2) ** in_time for model, part in parts.items()}


class Conversations:
    """The conversations of the last minutes, and how long an organisation's go on as a rule."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: OrderedDict[tuple[str, bytes], _Conversation] = OrderedDict()
        self._habits: OrderedDict[str, _Habit] = OrderedDict()

    def answered(self, organization_id: str, thread: bytes, model: str, asked_bytes: int, *, kept: bool = True) -> None:
        """`model` answered a question of so many bytes that begins like `thread`; `kept`: its provider keeps it."""
        key = organization_id, thread
        known, now = self._last.setdefault(key, _Conversation()), self._clock.monotonic()
        before = max((at for at, _, _ in known.models.values()), default=now)
        # The same question again is no further turn, and what was long ago is another conversation.
        went_on = any(size < asked_bytes and now - at <= _KEPT_S for at, size, _ in known.models.values())
        known.turns = known.turns + 1 if went_on else 1
        known.models.pop(model, None)
        known.models[model] = now, asked_bytes, kept
        if len(known.models) > _MOST_MODELS:
            del known.models[next(iter(known.models))]
        self._habits.setdefault(organization_id, _Habit()).count(known.turns, model, now - before)
        self._last.move_to_end(key)
        self._habits.move_to_end(organization_id)
        while len(self._last) > _MOST:
            self._last.popitem(last=False)
        while len(self._habits) > _MOST:
            self._habits.popitem(last=False)

    def prefixes(self, organization_id: str, thread: bytes, asked_bytes: int) -> Prefixes:
        """What is kept of a question of so many bytes; the model that answered last at the end."""
        known, now = self._last.get((organization_id, thread)), self._clock.monotonic()
        models = known.models.items() if known is not None else ()
        return {
            model: size if kept else 0
            for model, (at, size, kept) in models
            if size < asked_bytes and now - at <= _KEPT_S
        }

    def outlook(self, organization_id: str, prefixes: Prefixes, turn: int) -> tuple[float, dict[str, float]]:
        """What is expected after the question that is the conversation's `turn`: how many turns, see `Known.again`."""
        habit = self._habits.get(organization_id) or _Habit()
        turns = habit.expected_after(turn)
        return turns, habit.again(turns, next(reversed(prefixes), ""))
