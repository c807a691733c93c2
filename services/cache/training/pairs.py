"""Pairs of prompts with the answer to whether one's answer serves the other, generated from hand-written templates.

Nothing comes from a data set. A pair is positive when two frames of one intent are filled alike, negative when anything
that changes the answer differs: a filler, the order of two, an opposite, a negation, what is asked of the same thing,
the form of the answer.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

from asahi_cache.domain.semantic.lexicon import lexicon


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two prompts."""

    a: str
    b: str
    label: int
    """1: the answer to either serves the other."""
    kind: str
    """How it was made."""
    group: str
    """What it was made from; a fair test holds whole groups back."""


class PairGenerator:
    """Draws pairs; the same seed, the same pairs."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._data: Mapping[str, Any] = json.loads(
            files(__package__).joinpath("intents.json").read_text(encoding="utf-8")
        )
        self._sibling = {name: group for group in self._data["siblings"] for name in group}
        self._kinds: tuple[tuple[Callable[[], LabelledPair], float], ...] = (
            (self._paraphrase, 0.38),
            (self._other_filler, 0.17),
            (self._other_intent, 0.1),
            (self._other_question, 0.1),
            (self._unrelated, 0.1),
            (self._other_form, 0.05),
            (self._opposite, 0.04),
            (self._swapped, 0.03),
            (self._negated, 0.03),
        )
        self._opposites = sorted(pair for pair in lexicon().opposites if pair[0] < pair[1])

    def draw(self) -> LabelledPair:
        """One pair."""
        (made,) = self._random.choices([make for make, _ in self._kinds], [share for _, share in self._kinds])
        return made()

    def _paraphrase(self) -> LabelledPair:
        intent = self._intent()
        fill = self._fill()
        one, other = self._random.choice(self._frames(intent)), self._random.choice(self._frames(intent))
        a, b = _filled(one, fill), _filled(other, fill)
        if self._random.random() < 0.2:
            suffix = self._random.choice(self._data["suffixes"])
            a, b = f"{a} {suffix}", f"{b} {suffix}"
        return LabelledPair(a, self._courteous(b), 1, "paraphrase", intent)

    def _other_filler(self) -> LabelledPair:
        intent = self._intent()
        frames = self._frames(intent)
        one = self._random.choice(frames)
        other = one if self._random.random() < 0.6 else self._random.choice(frames)
        fill = self._fill()
        slots = [slot for slot in fill if "{" + slot + "}" in one and "{" + slot + "}" in other]
        slot = self._random.choice(slots)
        values = [value for value in self._data["fillers"][slot] if value != fill[slot]]
        changed = {**fill, slot: self._random.choice(values)}
        return LabelledPair(_filled(one, fill), self._courteous(_filled(other, changed)), 0, "filler", intent)

    def _other_intent(self) -> LabelledPair:
        intent = self._random.choice(sorted(self._sibling))
        other = self._random.choice([name for name in self._sibling[intent] if name != intent])
        fill = self._fill()
        a, b = (_filled(self._random.choice(self._frames(name)), fill) for name in (intent, other))
        return LabelledPair(a, b, 0, "intent", intent)

    def _other_question(self) -> LabelledPair:
        """Another question about the same thing, which shares one filler."""
        slot = self._random.choice(("topic", "country", "city", "condition", "programming", "book", "food"))
        intents = [name for name, frames in self._data["intents"].items() if "{" + slot + "}" in frames[0]]
        one, other = self._random.choice(intents), self._random.choice(intents)
        if one == other:
            return self._other_question()
        fill = self._fill()
        elsewhere = {**self._fill(), slot: fill[slot]}
        a = _filled(self._random.choice(self._frames(one)), fill)
        return LabelledPair(a, _filled(self._random.choice(self._frames(other)), elsewhere), 0, "question", one)

    def _swapped(self) -> LabelledPair:
        pairs = self._data["swaps"]
        one, other = self._random.choice(pairs)
        both = [
            intent
            for intent, frames in self._data["intents"].items()
            if all("{" + slot + "}" in frames[0] for slot in (one, other)) and intent not in self._data["symmetric"]
        ]
        intent = self._random.choice(both)
        fill = self._fill()
        swapped = {**fill, one: fill[other], other: fill[one]}
        frame = self._random.choice(self._frames(intent))
        return LabelledPair(_filled(frame, fill), _filled(frame, swapped), 0, "swap", intent)

    def _opposite(self) -> LabelledPair:
        one, other = self._random.choice(self._opposites)
        frame, carrier = self._random.choice(self._data["frames"]), self._random.choice(self._data["carriers"])
        a, b = (frame.replace("{w}", word).replace("{c}", carrier) for word in (one, other))
        return LabelledPair(a, b, 0, "opposite", f"{one} {other}")

    def _negated(self) -> LabelledPair:
        a, b = self._random.choice(self._data["negations"])
        noun = self._random.choice(self._data["negated"])
        return LabelledPair(a.replace("{x}", noun), b.replace("{x}", noun), 0, "negation", a)

    def _other_form(self) -> LabelledPair:
        intent = self._intent()
        frames, fill = self._frames(intent), self._fill()
        one, other = self._random.sample(self._data["suffixes"], 2)
        a, b = _filled(self._random.choice(frames), fill), _filled(self._random.choice(frames), fill)
        return LabelledPair(f"{a} {one}", f"{b} {other}" if self._random.random() < 0.8 else b, 0, "form", intent)

    def _unrelated(self) -> LabelledPair:
        one, other = self._intent(), self._intent()
        a = _filled(self._random.choice(self._frames(one)), self._fill())
        b = _filled(self._random.choice(self._frames(other)), self._fill())
        return LabelledPair(a, b, 0, "unrelated", one) if one != other else self._unrelated()

    def _intent(self) -> str:
        intents: list[str] = list(self._data["intents"])
        return self._random.choice(intents)

    def _frames(self, intent: str) -> list[str]:
        frames: list[str] = self._data["intents"][intent]
        return frames

    def _fill(self) -> dict[str, str]:
        return {slot: self._random.choice(values) for slot, values in self._data["fillers"].items()}

    def _courteous(self, prompt: str) -> str:
        opening, closing = self._random.choice(self._data["openings"]), self._random.choice(self._data["closings"])
        return f"{opening}{prompt}{closing}"


def _filled(frame: str, fill: Mapping[str, str]) -> str:
    for slot, value in fill.items():
        frame = frame.replace("{" + slot + "}", value)
    return frame
