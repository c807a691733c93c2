"""What words mean to the verifier: opposites, classes of things that exclude each other, and words for the same.

The file `lexicon.json` is written by hand, and reviewed like code; nothing in it is taken from a data set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything is lower case and in the canonical form of `words`."""

    opposites: frozenset[tuple[str, str]]
    """Both orders of each pair."""
    classes: Mapping[str, frozenset[str]]
    """To each word, the classes it belongs to: of two members of one class, one cannot stand for the other."""
    words: Mapping[str, str]
    """To a word, the one that stands for all that mean the same."""
    phrases: Mapping[tuple[str, ...], tuple[str, ...]]
    """To words in a row, what stands for them."""
    longest_phrase: int
    numbers: Mapping[str, str]
    """To a number in words, the one in digits; an ordinal ends with a full stop."""
    greetings: tuple[str, ...]
    """Courtesies, longest first."""
    function_words: frozenset[str]
    """Words that carry little of what is asked."""
    relations: frozenset[str]
    """Function words that say how things relate, and so are not to be dropped unseen."""


@cache
def lexicon() -> Lexicon:
    """The shipped lexicon."""
    data = json.loads(files(__package__).joinpath("lexicon.json").read_text(encoding="utf-8"))
    words: dict[str, str] = data["words"]
    opposites = set()
    for pair in data["antonyms"]:
        one, other = (words.get(word, word) for word in pair.split())
        if one != other:
            opposites |= {(one, other), (other, one)}
    classes: dict[str, set[str]] = {}
    for name, members in data["classes"].items():
        for member in members.split():
            classes.setdefault(words.get(member, member), set()).add(name)
    phrases = {tuple(phrase.split()): tuple(stands.split()) for phrase, stands in data["phrases"].items()}
    return Lexicon(
        opposites=frozenset(opposites),
        classes={word: frozenset(names) for word, names in classes.items()},
        words=words,
        phrases=phrases,
        longest_phrase=max(map(len, phrases)),
        numbers=data["numbers"],
        greetings=tuple(sorted(data["greetings"], key=len, reverse=True)),
        function_words=frozenset(data["function_words"].split()),
        relations=frozenset(data["meaningful_function_words"].split()),
    )
