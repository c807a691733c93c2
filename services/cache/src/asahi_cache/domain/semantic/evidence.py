"""What cosine is blind to: the ways in which two prompts of near-identical wording want different answers.

Each entry of `NAMES` is one kind of evidence, 0 where there is none. The verifier weighs them.
"""

from collections import Counter
from dataclasses import dataclass

from asahi_cache.domain.semantic.lexicon import lexicon
from asahi_cache.domain.semantic.words import Words

NAMES = (
    "cosine",
    "cosine_high",
    "same_words",
    "overlap",
    "numbers",
    "number_one_sided",
    "opposites",
    "negation",
    "same_class",
    "names",
    "name_one_sided",
    "code",
    "swapped",
    "relations",
    "question",
    "substituted",
    "substituted_in_place",
    "one_sided",
    "unknown_words",
)
_PREFIXES = ("un", "dis", "in", "im", "ir", "il", "non", "de", "anti", "mis")
_KIN_QUESTIONS = frozenset(
    {
        *(("what", "which"), ("how", "order"), ("what", "order"), ("how", "what"), ("how-long", "what")),
        *(("how-many", "what"), ("how-much", "what"), ("how-old", "what"), ("which", "order"), ("who", "what")),
    }
)
"""Openings with which one and the same thing can be asked for."""
_ENDINGS = frozenset(
    {*("e", "s", "es", "d", "ed", "r", "er", "ing", "ion", "ation", "ment", "ly", "al", "ness", "ity")}
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A new prompt and a stored one, with what separates their words."""

    cosine: float
    features: tuple[float, ...]
    """In the order of `NAMES`."""

    @property
    def by_name(self) -> dict[str, float]:
        """The features, each under its name."""
        return dict(zip(NAMES, self.features, strict=True))

    @property
    def against(self) -> list[str]:
        """The kinds of evidence that speak against the stored answer."""
        quiet = {"cosine", "cosine_high", "same_words", "overlap"}
        return [name for name, value in zip(NAMES, self.features, strict=True) if value > 0 and name not in quiet]


def compare(asked: Words, stored: Words, cosine: float) -> Pair:
    """All evidence on the pair. Symmetric."""
    known = lexicon()
    ours, theirs = Counter(asked.content), Counter(stored.content)
    shared = sum((ours & theirs).values())
    only_ours, only_theirs = list((ours - theirs).elements()), list((theirs - ours).elements())
    only_ours, only_theirs = _without_spellings(only_ours, only_theirs)
    larger = max(len(asked.content), len(stored.content), 1)
    overlap = 2 * shared / max(1, len(asked.content) + len(stored.content))
    opposites = _opposites(asked, stored, only_ours, only_theirs)
    same_class = sum(
        bool(known.classes.get(one, frozenset()) & known.classes.get(other, frozenset()))
        for one in only_ours
        for other in only_theirs
    )
    numbers_ours, numbers_theirs = asked.numbers - stored.numbers, stored.numbers - asked.numbers
    names_ours = asked.names - set(stored.all)
    names_theirs = stored.names - set(asked.all)
    swapped = _swapped(asked, stored) if not only_ours and not only_theirs else 0.0
    substituted = min(len(only_ours), len(only_theirs))
    values = {
        "cosine": cosine,
        "cosine_high": max(0.0, cosine - 0.8) * 5,
        "same_words": float(not only_ours and not only_theirs and not swapped),
        "overlap": overlap,
        "numbers": float(bool(numbers_ours and numbers_theirs)),
        "number_one_sided": float(bool(numbers_ours) != bool(numbers_theirs)),
        "opposites": float(opposites),
        "negation": float(
            (asked.negations > 0) != (stored.negations > 0) or abs(asked.negations - stored.negations) == 1
        ),
        "same_class": float(same_class > 0),
        "names": float(bool(names_ours and names_theirs)),
        "name_one_sided": float(bool(names_ours) != bool(names_theirs)),
        "code": float(bool(asked.code - stored.code) and bool(stored.code - asked.code)),
        "swapped": swapped,
        "relations": float(_relations(asked, stored)) * overlap,
        "question": float(_questions_differ(asked.question, stored.question)),
        "substituted": min(substituted, 3) / 3,
        "substituted_in_place": float(substituted > 0) * overlap,
        "one_sided": float(abs(len(only_ours) - len(only_theirs))) / larger,
        "unknown_words": min(len(only_ours) + len(only_theirs), 8) / 8,
    }
    return Pair(cosine, tuple(values[name] for name in NAMES))


def _without_spellings(ours: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    """Leaves out what is one word in two spellings or forms on the two sides (`install`, `installation`)."""
    left = list(theirs)
    kept = []
    for word in ours:
        twin = next((other for other in left if _one_word(word, other)), None)
        if twin is None:
            kept.append(word)
        else:
            left.remove(twin)
    return kept, left


def _one_word(one: str, other: str) -> bool:
    if not one.isalpha() or not other.isalpha() or min(len(one), len(other)) < 4:
        return one.replace("-", "") == other.replace("-", "")
    shorter, longer = sorted((one, other), key=len)
    known = lexicon()
    if (one, other) in known.opposites or known.classes.get(one, frozenset()) & known.classes.get(other, frozenset()):
        return False
    if longer.startswith(shorter) and longer[len(shorter) :] in _ENDINGS:
        return True
    same = len(shorter) - 1 if len(shorter) > 4 else len(shorter)
    return one[:same] == other[:same] and len(longer) - len(shorter) <= 3 and same >= 5


def _opposites(asked: Words, stored: Words, only_ours: list[str], only_theirs: list[str]) -> bool:
    known = lexicon()
    relations_ours = [word for word in asked.all if word in known.relations]
    relations_theirs = [word for word in stored.all if word in known.relations]
    ours = only_ours + list((Counter(relations_ours) - Counter(relations_theirs)).elements())
    theirs = only_theirs + list((Counter(relations_theirs) - Counter(relations_ours)).elements())
    return any(
        (one, other) in known.opposites or any(prefix + one == other or prefix + other == one for prefix in _PREFIXES)
        for one in ours
        for other in theirs
    )


def _swapped(asked: Words, stored: Words) -> float:
    """1 where the same words come in an order that may turn the meaning round.

    Two that trade places are; a block that moved past the rest (`in Python, sort a list`) is a weaker sign.
    """
    if asked.content == stored.content:
        return 0.0
    heads = {word for word in asked.content if asked.content.count(word) == 1}
    order_ours = [word for word in asked.content if word in heads]
    order_theirs = [word for word in stored.content if word in heads]
    if len(asked.content) != len(set(asked.content)):
        return 1.0
    for relation in (
        "to",
        "from",
        "before",
        "after",
        "into",
        "than",
        "between",
        "over",
        "by",
        "versus",
        "with",
        "for",
        "of",
        "when",
        "in",
    ):
        if _neighbours(asked.all, relation, heads) != _neighbours(stored.all, relation, heads):
            before, after = _neighbours(asked.all, relation, heads)
            if _neighbours(stored.all, relation, heads) == (after, before) and before != after:
                return 1.0
    differing = [at for at, (one, other) in enumerate(zip(order_ours, order_theirs, strict=False)) if one != other]
    if len(differing) == 2 and len(order_ours) == len(order_theirs):
        return 1.0
    return 0.3 * float(bool(differing))


def _neighbours(words: tuple[str, ...], relation: str, heads: set[str]) -> tuple[str, str]:
    """The content words next to a relation, on its left and on its right."""
    if relation not in words:
        return "", ""
    at = words.index(relation)
    left = next((word for word in reversed(words[:at]) if word in heads), "")
    right = next((word for word in words[at + 1 :] if word in heads), "")
    return left, right


def _relations(asked: Words, stored: Words) -> bool:
    """Whether the relations that are there on both sides differ."""
    relations = lexicon().relations - {"of", "in", "to", "with", "by", "from"}
    ours, theirs = (Counter(word for word in words.all if word in relations) for words in (asked, stored))
    return bool(ours - theirs) and bool(theirs - ours)


def _questions_differ(one: str, other: str) -> bool:
    return one != other and (one, other) not in _KIN_QUESTIONS and (other, one) not in _KIN_QUESTIONS
