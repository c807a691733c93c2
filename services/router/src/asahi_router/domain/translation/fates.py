"""The words of the tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fate(StrEnum):
    """What becomes of a field in the other protocol."""

    CARRIED = "carried"
    """It means there what it means here."""
    TRANSLATED = "translated"
    """It is said in another way."""
    LEFT_OUT = "left out"
    """It cannot change the answer."""
    NEUTRAL = "neutral values only"
    """It is left out where its value asks for nothing, and refused with any other."""
    REFUSED = "refused"
    """The question is refused with `unsupported_by_model`, which names the field."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A field, or a whole kind of object."""

    fate: Fate
    note: str = ""
    """What it becomes, or why it becomes nothing."""
    values: tuple[Any, ...] = ()
    """Of a `NEUTRAL` field: the values that ask for nothing."""
    whole: bool = False
    """Whether it goes with all that lies in it, whatever that is."""


Entries = Mapping[str, Entry]
Table = Mapping[str, Entries | Entry]
"""By object: its fields, or what becomes of all of it. `part:text` is what a `part` of that `type` or `role` has,
`tool/function` what lies in the field `function` of a `tool`, `part:*` every kind that is not listed."""


def carried(note: str = "") -> Entry:
    """Means the same there."""
    return Entry(Fate.CARRIED, note)


def translated(note: str, *, whole: bool = False) -> Entry:
    """Is said in another way."""
    return Entry(Fate.TRANSLATED, note, whole=whole)


def left_out(why: str) -> Entry:
    """Cannot change the answer."""
    return Entry(Fate.LEFT_OUT, why)


def neutral(*values: Any) -> Entry:
    """Asks for nothing with one of `values`, and is refused with others."""
    return Entry(Fate.NEUTRAL, values=values)


def refused(why: str = "") -> Entry:
    """Is refused by name."""
    return Entry(Fate.REFUSED, why)


def entries_of(table: Table, name: str) -> Entries:
    """The fields of an object that is not refused as a whole."""
    found = table[name]
    if isinstance(found, Entry):
        raise TypeError(f"{name} is refused as a whole")
    return found


def carried_names(table: Table) -> frozenset[str]:
    """The fields of a question that keep it with its own protocol with no value."""
    staying = (Fate.REFUSED, Fate.NEUTRAL)
    return frozenset(name for name, entry in entries_of(table, "request").items() if entry.fate not in staying)
