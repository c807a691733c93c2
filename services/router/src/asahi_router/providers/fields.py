"""Reads JSON objects of questions field by field, so that no field is lost unnoticed in a translation."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from asahi_core.errors import InvalidRequest, UnsupportedByModel
from asahi_router.domain.translation.fates import Entries, Fate
from asahi_router.providers.raw_json import Raw, read_object

Places = Sequence[Sequence[str]]
"""Where each part of each message of the intermediate form stands in the question."""
_PART = re.compile(r"messages\[(?P<message>\d+)\]\.content\[(?P<part>\d+)\](?P<rest>.*)")
ValueT = TypeVar("ValueT")
_NULL = b"null"
OURS = "organization_id"
"""A field of Asahi's own in the bodies of every protocol, which no provider knows."""


class Fields:
    """The fields of one object. What is left over when it is `finish`ed cannot be carried."""

    def __init__(self, body: bytes | Raw, path: str = "") -> None:
        """`path`: where the object lies in the question; empty: it is the question."""
        self.path = path
        self._left = read_object(bytes(body))

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str, shape: type[ValueT]) -> ValueT | None:
        """A field's value; None: absent or null. Raises InvalidRequest if it is no `shape`."""
        raw = self._left.pop(name, None)
        if raw is None or bytes(raw) == _NULL:
            return None
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"'{self.at(name)}' cannot be understood: {error}.", param=self.at(name)) from error

    def need(self, name: str, shape: type[ValueT]) -> ValueT:
        """The same of a field that must be there."""
        value = self.take(name, shape)
        if value is None:
            raise InvalidRequest(f"'{self.at(name)}' is missing.", param=self.at(name))
        return value

    def items(self, name: str) -> Iterator["Fields"]:
        """The objects in a list."""
        for index, item in enumerate(self.take(name, list[Raw]) or ()):
            yield Fields(item, f"{self.at(name)}[{index}]")

    def object(self, name: str) -> "Fields | None":
        """The object in a field."""
        raw = self.take(name, Raw)
        return Fields(raw, self.at(name)) if raw is not None else None

    def drop(self, *names: str) -> None:
        """Drops what the call itself says."""
        for name in names:
            self._left.pop(name, None)

    def allow(self, name: str, *values: Any) -> None:
        """Drops a field whose value is one of `values`: what holds without it as well."""
        raw = self._left.get(name)
        if raw is not None and msgspec.json.decode(raw) in values:
            del self._left[name]

    def settle(self, entries: Entries) -> None:
        """Drops what a table says is left out, and what has a neutral value."""
        for name in [name for name in self._left if name in entries]:
            entry = entries[name]
            if entry.fate == Fate.LEFT_OUT:
                del self._left[name]
            elif entry.fate == Fate.NEUTRAL:
                self.allow(name, *entry.values)

    def finish(self) -> None:
        """Raises UnsupportedByModel for the first field that is left."""
        for name, raw in self._left.items():
            if bytes(raw) != _NULL:
                self.refuse(self.at(name))

    def refuse(self, path: str) -> None:
        """Raises UnsupportedByModel for the field at `path`."""
        raise unsupported(path)


def placed(error: UnsupportedByModel, places: Places) -> UnsupportedByModel:
    """An error about the intermediate form, with the place in the question as its caller wrote it."""
    found = _PART.fullmatch(error.param or "")
    if found is None:
        return error
    parts = places[int(found["message"])]
    number = int(found["part"])
    return unsupported((parts[number] if number < len(parts) else parts[-1]) + found["rest"])


def unsupported(path: str) -> UnsupportedByModel:
    """The error for what cannot be carried into the protocol of the model's provider."""
    message = f"The model's provider takes no '{path}' as it was sent; leave it out or name a model that takes it."
    return UnsupportedByModel(message, param=path)
