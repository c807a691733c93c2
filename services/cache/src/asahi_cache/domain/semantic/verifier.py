"""How likely a stored answer serves a new prompt: a logistic model over the evidence, with reviewed coefficients.

`verifier.json` holds them with how they were made (`services/cache/training`). Every kind of evidence against can only
lower the probability, and every kind for it only raise it, whatever the pairs were that it learned from.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from asahi_cache.domain.semantic.classes import normal_form, without_courtesies
from asahi_cache.domain.semantic.evidence import NAMES, Pair, compare
from asahi_cache.domain.semantic.words import Words, words_of

FAVOURABLE = frozenset({"cosine", "cosine_high", "same_words", "overlap"})
FAR = 0.78
"""Cosine below which hardly any two prompts ask for the same answer."""
_FAR_SLOPE = 40.0
"""How fast the log-odds fall below it; set, not learned: generated pairs know too few unrelated neighbours."""
_SAME = 0.9995
"""The probability within a normalisation class."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt made ready for comparison."""

    text: str
    """What is embedded: the prompt without courtesies."""
    form: str
    words: Words


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the verifier says about a pair."""

    probability: float
    """That the stored answer serves the new prompt, 0 to 1."""
    same_class: bool
    """Whether nothing differs that can change an answer."""
    cosine: float
    against: tuple[str, ...]
    """Kinds of evidence that speak against it."""


class Verifier:
    """The model."""

    def __init__(self, intercept: float, weights: Mapping[str, float]) -> None:
        self._intercept = intercept
        self._weights = tuple(weights[name] for name in NAMES)

    def judge(self, asked: Question, stored: Question, cosine: float) -> Judgement:
        """How likely the answer to `stored` serves `asked`; symmetric in the two."""
        if asked.form == stored.form:
            return Judgement(_SAME, same_class=True, cosine=cosine, against=())
        if asked.words.cut or stored.words.cut:
            return Judgement(0.0, same_class=False, cosine=cosine, against=("length",))
        pair = compare(asked.words, stored.words, cosine)
        return Judgement(
            min(self.score(pair), _SAME - 1e-6), same_class=False, cosine=cosine, against=tuple(pair.against)
        )

    def score(self, pair: Pair) -> float:
        """The probability that the evidence gives."""
        logit = self._intercept + sum(
            weight * value for weight, value in zip(self._weights, pair.features, strict=True)
        )
        logit -= _FAR_SLOPE * max(0.0, FAR - pair.cosine)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


def question_of(prompt: str) -> Question:
    """The prompt made ready."""
    text = without_courtesies(prompt)
    return Question(text, normal_form(prompt), words_of(text))


@cache
def shipped_verifier() -> Verifier:
    """The verifier with the reviewed coefficients."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("verifier.json").read_text(encoding="utf-8"))
    return Verifier(data["intercept"], data["weights"])
