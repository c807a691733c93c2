"""The judge of two answers: do they say the same? It stands in for a person when a stored answer is audited.

A logistic model over the evidence that the verifier reads, on what the answers say; `equivalence.json` holds its
coefficients and how often it erred on generated answers that it had not seen (`services/cache/training/judge.py`).
It is set so that it rather calls equal answers different: that costs hits, the other error costs the promise.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from asahi.type.v1.chat_pb2 import Answer
from asahi_cache.domain.embedding import Embedder
from asahi_cache.domain.semantic.evidence import compare
from asahi_cache.domain.semantic.words import Words, words_of

NAMES = (
    *("cosine", "cosine_high", "same_words"),
    *("numbers", "number_one_sided", "opposites", "negation", "same_class", "names", "code", "swapped"),
    *("substituted", "substituted_in_place", "unmatched", "verdict"),
)
"""What is weighed; the first three speak for, the others against."""
FAVOURABLE = 3
_FROM_PAIR = NAMES[1:-2]
_MATCHED = 0.5
"""Cosine from which two sentences count as speaking of the same."""
_MOST_SENTENCES = 12
_MOST_CHARACTERS = 4000
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_VERDICT = re.compile(r"\W*(yes|no|true|false|correct|incorrect)\b", re.IGNORECASE)
_OPENING = re.compile(r"^(?:sure|of course|certainly|absolutely|great question)[!,.:]\s+", re.IGNORECASE)
_CLOSING = re.compile(
    r"\s*(?:let me know if|i hope (?:this|that) helps|feel free to|do you want me to|would you like)[^.!?]*[.!?]*$",
    re.IGNORECASE,
)
_SPACES = re.compile(r"\s+")
_POSITIVE = {"yes", "true", "correct"}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer made ready for comparison."""

    sentences: tuple[str, ...]
    """What is embedded: its sentences without courtesies, at most `_MOST_SENTENCES`."""
    whole: str
    """All of it, spaces and case levelled."""
    words: tuple[Words, ...]
    """Of each sentence."""
    verdict: bool | None
    """What a yes or no at its beginning says; None: there is none."""


class EquivalenceJudge:
    """The model."""

    def __init__(self, intercept: float, weights: Mapping[str, float], misses: float) -> None:
        self._intercept = intercept
        self._weights = tuple(weights[name] for name in NAMES)
        self.misses = misses
        """Most of the answers that differ that it takes for equal, as a share, with probability 0.95."""

    def same(self, one: Said, other: Said, cosines: Sequence[Sequence[float]]) -> bool:
        """Whether the two say the same; symmetric. `cosines`: of each sentence of the one with each of the other."""
        if one.whole == other.whole:
            return True
        values = features(one, other, cosines)
        logit = self._intercept + sum(weight * value for weight, value in zip(self._weights, values, strict=True))
        return logit > 0


def said(text: str) -> Said:
    """The answer made ready."""
    bare = _CLOSING.sub("", _OPENING.sub("", text.strip()))[:_MOST_CHARACTERS]
    sentences = tuple(part for part in map(str.strip, _SENTENCE.split(bare)) if part)[:_MOST_SENTENCES] or (bare,)
    found = _VERDICT.match(bare)
    return Said(
        sentences=sentences,
        whole=_SPACES.sub(" ", text).strip().casefold(),
        words=tuple(map(words_of, sentences)),
        verdict=None if found is None else found[1].lower() in _POSITIVE,
    )


def features(one: Said, other: Said, cosines: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The evidence on two answers, in the order of `NAMES`: the worst over the sentences that speak of the same."""
    matches = _matches(cosines)
    pairs = [(compare(one.words[i], other.words[j], cosines[i][j]).by_name, cosines[i][j]) for i, j in matches]
    least = min((cosine for _, cosine in pairs), default=0.0)
    worst = {name: max((pair[name] for pair, _ in pairs), default=1.0) for name in _FROM_PAIR}
    for name in ("cosine_high", "same_words"):
        worst[name] = min((pair[name] for pair, _ in pairs), default=0.0)
    alone = min(len(one.sentences), len(other.sentences)) - len(pairs)
    contradicts = one.verdict is not None and other.verdict is not None and one.verdict != other.verdict
    return (least, *(worst[name] for name in _FROM_PAIR), min(alone, 3) / 3, float(contradicts))


def _matches(cosines: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Sentences that are each other's nearest, and near enough; the nearest two where none are."""
    best = [max(range(len(row)), key=row.__getitem__) for row in cosines]
    back = [max(range(len(cosines)), key=lambda i: cosines[i][j]) for j in range(len(cosines[0]))]
    mutual = [(i, j) for i, j in enumerate(best) if back[j] == i]
    return [(i, j) for i, j in mutual if cosines[i][j] >= _MATCHED] or mutual[:1]


def text_of(answer: Answer) -> str:
    """What an answer says in text, in whichever protocol it is kept; empty: nothing that could be compared."""
    if answer.WhichOneof("content") == "chat":
        return "".join(part.text or part.refusal for part in answer.chat.parts)
    try:
        body: Any = json.loads(answer.native.body)
        return _text_in(body)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return ""  # a body of a form that is not known here has no text to compare


def _text_in(body: Any) -> str:
    if "choices" in body:  # OpenAI's chat completions
        return str(body["choices"][0]["message"].get("content") or "")
    parts = body["content"] if "content" in body else [p for item in body["output"] for p in item.get("content", ())]
    return "".join(part.get("text", "") for part in parts)


async def say_the_same(judge: EquivalenceJudge, embedder: Embedder, one: str, other: str) -> bool:
    """Whether two answers do; one without text is never proof. Raises as `Embedder.embed`."""
    first, second = said(one), said(other)
    if not first.whole or not second.whole:
        return False
    if first.whole == second.whole:
        return True
    vectors = await embedder.embed([*first.sentences, *second.sentences])
    cut = len(first.sentences)
    return judge.same(first, second, (vectors[:cut] @ vectors[cut:].T).tolist())


@cache
def shipped_judge() -> EquivalenceJudge:
    """The judge with the reviewed coefficients."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("equivalence.json").read_text(encoding="utf-8"))
    return EquivalenceJudge(data["intercept"], data["weights"], data["misses"]["most"])
