"""A prompt as the verifier reads it: canonical words in their order, and what kind each is of."""

import re
from dataclasses import dataclass

from asahi_cache.domain.semantic.lexicon import Lexicon, lexicon

_CONTRACTIONS = (
    (re.compile(r"\bwon['’]t\b"), "will not"),
    (re.compile(r"\bcan['’]?t\b|\bcannot\b"), "can not"),
    (re.compile(r"n['’]t\b"), " not"),
    (re.compile(r"['’](?:re|s|m|ve|ll|d)\b"), ""),
)
_TOKEN = re.compile(
    r"--?[a-z][\w-]*"  # a flag
    r"|[a-z_][\w]*(?:[._:/\\][\w]+)+(?:\(\))?"  # a path, a qualified name
    r"|\w+\(\)"
    r"|\d+(?:[.,:/-]\d+)*(?:st|nd|rd|th)?(?=[a-z]{0,3}\b|\W|$)"
    r"|c\+\+|[cf]#"
    r"|[a-z0-9]+(?:-[a-z0-9]+)+"
    r"|[^\W\d_]+\d*\w*"
    r"|[+*/=<>^%&|!~]+|[€$£¥]"
)
_CODE = re.compile(r"--?[a-z][\w-]*|.*[_./\\:(].*|[a-z]+[A-Z]\w*|[+*/=<>^%&|!~]+")
_CAMEL = re.compile(r"\b[a-z]+[A-Z]\w*\b|\b\w+_\w+\b")
_DIGITS = re.compile(r"\d")
_NEGATIONS = frozenset(
    {"not", "no", "never", "without", "none", "nothing", "nobody", "neither", "nor", "except", "excluding"}
)
_LONGEST_WORDS = 256


@dataclass(frozen=True, slots=True)
class Words:
    """A prompt in canonical words."""

    all: tuple[str, ...]
    """In their order, function words included."""
    content: tuple[str, ...]
    """In their order, function words and negations left out."""
    numbers: frozenset[str]
    """Numbers, dates and versions as they would be written in digits; an ordinal ends with a full stop."""
    names: frozenset[str]
    """Words that were capitalised in the middle of a sentence, or written in capitals."""
    code: frozenset[str]
    """Flags, paths, identifiers and operators."""
    negations: int
    question: str
    """What the prompt opens with as a question: how, why, what, who, when, where, which, yes-no, or an order."""
    cut: bool = False
    """Whether it has more words than were read: it must not be compared with another by them."""


def words_of(prompt: str) -> Words:
    """The prompt in canonical words; of a very long one, its beginning and its end."""
    known = lexicon()
    text = prompt if len(prompt) <= 4000 else f"{prompt[:2000]} {prompt[-2000:]}"
    lowered = text.replace("−", "-").lower()
    for pattern, replacement in _CONTRACTIONS:
        lowered = pattern.sub(replacement, lowered)
    every = _TOKEN.findall(lowered)
    raw = every[:_LONGEST_WORDS]
    said = _phrased([word for word in raw if word], known)
    canonical = tuple(_canonical(word, known) for word in said)
    numbers = frozenset(word for word in canonical if _DIGITS.search(word) and not word.startswith("-"))
    camel = {word.lower() for word in _CAMEL.findall(text)}
    code = frozenset(word for word in said if word not in numbers and (_CODE.fullmatch(word) or word in camel))
    return Words(
        all=canonical,
        content=tuple(word for word in canonical if not _is_function_word(word, known) and word not in _NEGATIONS),
        numbers=numbers,
        names=_names(text, known),
        code=code,
        negations=sum(word in _NEGATIONS for word in canonical),
        question=_question(canonical),
        cut=len(every) > _LONGEST_WORDS or text is not prompt,
    )


def _phrased(raw: list[str], known: Lexicon) -> list[str]:
    said: list[str] = []
    at = 0
    while at < len(raw):
        for length in range(min(known.longest_phrase, len(raw) - at), 1, -1):
            stands = known.phrases.get(tuple(raw[at : at + length]))
            if stands is not None:
                said.extend(stands)
                at += length
                break
        else:
            said.append(raw[at])
            at += 1
    return said


def _canonical(word: str, known: Lexicon) -> str:
    if word in known.numbers:
        return known.numbers[word]
    if word[0].isdigit():
        stem = word.replace(",", "")
        return f"{stem[:-2]}." if stem.endswith(("st", "nd", "rd", "th")) else stem.removesuffix(".0")
    if word in known.words:
        return known.words[word]
    if word in known.classes or word in known.function_words or "-" in word or not word.isalpha():
        return word
    stem = _stem(word, known)
    return known.words.get(stem, stem)


def _stem(word: str, known: Lexicon) -> str:
    """Plurals, -ing and -ed undone where that is plain; two forms of one word mostly meet."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    for suffix in ("ing", "ed"):
        base = word.removesuffix(suffix)
        if base != word and len(base) >= 3 and re.search("[aeiouy]", base):
            if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz":
                return base[:-1]
            return (
                base + "e"
                if base + "e" in known.words or base.endswith(("at", "iz", "us", "rg", "ng", "c", "v"))
                else base
            )
    return word


def _names(text: str, known: Lexicon) -> frozenset[str]:
    found = set()
    for match in re.finditer(r"\b[A-Z][\w+#]*", text):
        before = text[: match.start()].rstrip(" \"'“(")
        begins = not before or before[-1] in ".!?:\n"
        word = match[0]
        if not begins or (len(word) > 1 and word.isupper()):
            found.add(_canonical(word.lower(), known))
    return frozenset(found - known.function_words)


def _is_function_word(word: str, known: Lexicon) -> bool:
    return word in known.function_words or word in known.relations


def _question(words: tuple[str, ...]) -> str:
    for word in words[:8]:
        if word in {"how", "why", "who", "when", "where", "which"}:
            return word
        if word.startswith("how-") or word == "why-not":
            return word
        if word in {"what", "whom", "whose"}:
            return "what"
    if words and words[0] in {
        "is",
        "are",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "will",
        "was",
        "were",
        "has",
        "have",
    }:
        return "yes-no"
    return "order"
