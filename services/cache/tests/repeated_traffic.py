"""Questions that are asked again and again in other words, beside near-misses of the same wording.

Written by hand in `repeated.json`, apart from what the verifier was fitted on. A question is one choice for each slot
of a family; what differs in one slot is its near-miss. It is asked in 5 to 50 phrasings; popularity follows Zipf's law.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from random import Random
from typing import Any

_FEWEST, _MOST = 5, 50
_CLAUSE = "~"
"""Begins what is a clause (`how high K2 is`) and so stands in other frames."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A question that comes again."""

    phrasings: Sequence[str]
    """All mean the same."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    meaning: int
    """Equal: the same answer serves."""
    text: str


def written(random: Random) -> list[Repeated]:
    """The questions of `repeated.json`, each in some of its phrasings; the same seed, the same questions."""
    data: Mapping[str, Any] = json.loads(Path(__file__).with_name("repeated.json").read_text(encoding="utf-8"))
    made = []
    for family in data["families"]:
        slots = [name for name in family if name not in {"frame", "says"}]
        for chosen in product(*(family[name] for name in slots)):
            every = sorted(set(_phrasings(data, family, dict(zip(slots, chosen, strict=True)))))
            made.append(Repeated(random.sample(every, min(len(every), random.randint(_FEWEST, _MOST)))))
    return made


def clusters(pairs: Sequence[Mapping[str, Any]]) -> list[Repeated]:
    """Questions that labelled pairs call the same, directly or through others, where they are 5 or more."""
    leads: dict[str, str] = {}

    def lead(text: str) -> str:
        while leads.setdefault(text, text) != text:
            leads[text] = leads[leads[text]]
            text = leads[text]
        return text

    for pair in pairs:
        one, other = lead(pair["a"]), lead(pair["b"])
        if pair["label"]:
            leads[one] = other
    found: dict[str, list[str]] = {}
    for text in sorted(leads):
        found.setdefault(lead(text), []).append(text)
    return [Repeated(texts) for texts in found.values() if len(texts) >= _FEWEST]


def traffic(questions: Sequence[Repeated], requests: int, exponent: float, random: Random) -> Iterator[Asked]:
    """Requests by Zipf's law over the questions, which are ranked at random; a phrasing is as likely as another."""
    order = random.sample(range(len(questions)), len(questions))
    weights = list(accumulate(1 / rank**exponent for rank in range(1, len(order) + 1)))
    for meaning in random.choices(order, cum_weights=weights, k=requests):
        yield Asked(meaning, random.choice(questions[meaning].phrasings))


def _phrasings(
    data: Mapping[str, Any], family: Mapping[str, Any], chosen: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    for says, words in product(family["says"], product(*chosen.values())):
        said = says
        for slot, word in zip(chosen, words, strict=True):
            said = said.replace("{" + slot + "}", word)
        frames = data["frames"]["clause" if said.startswith(_CLAUSE) else family["frame"]]
        for frame, courtesy in product(frames, data["courtesies"]):
            asked = frame.replace("{x}", said.removeprefix(_CLAUSE))
            yield courtesy.replace("{q}", asked[0].upper() + asked[1:])
