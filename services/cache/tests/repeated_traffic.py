"""Questions that are asked again and again in other words, beside near-misses of the same wording.

`python -m services.cache.tests.repeated_traffic` prints pairs of them for `python -m asahi_cache.evaluate`.

Written by hand in `repeated.json`, apart from what the verifier was fitted on. A question is one choice for each slot
of a family; what differs in one slot is its near-miss. It is asked in 5 to 50 phrasings; popularity follows Zipf's law.
"""

import argparse
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
    place: tuple[int, ...] = ()
    """Of what was written by hand: the family, and the choice in each of its slots."""


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
    for number, family in enumerate(data["families"]):
        slots = [name for name in family if name not in {"frame", "says"}]
        for place in product(*(range(len(family[name])) for name in slots)):
            chosen = {slot: family[slot][at] for slot, at in zip(slots, place, strict=True)}
            every = sorted(set(_phrasings(data, family, chosen)))
            phrasings = random.sample(every, min(len(every), random.randint(_FEWEST, _MOST)))
            made.append(Repeated(phrasings, (number, *place)))
    return made


def pairs_of(questions: Sequence[Repeated], random: Random) -> Iterator[dict[str, Any]]:
    """Of each question two phrasings, and one beside the most alike of a near-miss: a question other in one slot."""
    for question in questions:
        one, other = random.sample(question.phrasings, 2)
        yield {"a": one, "b": other, "label": 1, "source": "written"}
        near = [twin for twin in questions if _differing(twin.place, question.place) == 1]
        if near:
            words = set(one.split())
            twin = max(random.choice(near).phrasings, key=lambda said: len(words & set(said.split())))
            yield {"a": one, "b": twin, "label": 0, "source": "written"}


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


def _differing(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """In how many slots; questions of two families in more than one."""
    if one[0] != other[0]:
        return len(one) + len(other)
    return sum(a != b for a, b in zip(one, other, strict=True))


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


def main() -> None:
    """Prints pairs as JSON lines."""
    parser = argparse.ArgumentParser(prog="services.cache.tests.repeated_traffic", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    random = Random(parser.parse_args().seed)
    for pair in pairs_of(written(random), random):
        print(json.dumps(pair))


if __name__ == "__main__":
    main()
