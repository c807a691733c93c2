"""Bodies that are wrong in some way, drawn from ones that are right."""

import json
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e-308, 0.1),
    *("", " ", "\x00", "\ud800", "\U0001f600" * 9, "a" * 10_000, "true", "1e9", "../../etc/passwd", "'; --", "%s%n"),
    *([], {}, [[]], [None] * 50, {"": {}}, {"__proto__": 1}, {"a": {"a": {"a": {}}}}),
)
_TOKENS = (b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"\\ud800", b"NaN", b"1e999", b"\xff", b"\x00", b"\n")
_DEEP = (500, 100_000)
_SCALARS: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_STRING: ("", "a", "\x00", "x" * 5000, "org-1", "é" * 300, "2026-01-01", "$" * 40),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, -1.0, 1e308, float("nan"), float("inf"), 0.5),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, -1.0, float("nan"), 0.5),
    FieldDescriptor.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 999),
}


def mutated(random: Random, document: dict[str, Any]) -> bytes:
    """The document with something wrong in it: its values, its names, its text, or its bytes."""
    match random.randrange(8):
        case 0 | 1 | 2:
            return _encode(_changed(random, document))
        case 3:
            return _encode(_changed(random, _changed(random, document)))
        case 4 | 5:
            return scrambled(random, _encode(document))
        case 6:
            depth = random.choice(_DEEP)
            return random.choice((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth))
        case _:
            return random.randbytes(random.randrange(200))


def scrambled(random: Random, body: bytes) -> bytes:
    """The bytes with some flipped, lost, doubled or put in."""
    found = bytearray(body)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(found) + 1)
        match random.randrange(4):
            case 0 if found:
                found[place % len(found)] ^= 1 << random.randrange(8)
            case 1:
                del found[place : place + random.randint(1, 20)]
            case 2:
                found[place:place] = found[place : place + random.randint(1, 50)]
            case _:
                found[place:place] = random.choice(_TOKENS)
    return bytes(found)


def message_of(random: Random, descriptor: Descriptor, depth: int = 3) -> Message:
    """A message of the type with odd values in some of its fields."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if random.random() < 0.5:
            continue
        if field.message_type is None:
            value = _scalar(random, field)
            if field.is_repeated:
                getattr(message, field.name).extend([value] * random.randrange(4))
            else:
                setattr(message, field.name, value)
        elif depth and not field.message_type.GetOptions().map_entry:
            inner = message_of(random, field.message_type, depth - 1)
            if field.is_repeated:
                getattr(message, field.name).extend([inner] * random.randrange(3))
            else:
                getattr(message, field.name).CopyFrom(inner)
    return message


def _scalar(random: Random, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return random.randbytes(random.choice((0, 1, 32, 5000)))
    return random.choice(_SCALARS[field.cpp_type])


def _changed(random: Random, document: Any) -> Any:
    """A copy with one place changed."""
    if isinstance(document, dict) and document and random.random() < 0.9:
        name = random.choice(list(document))
        match random.randrange(6):
            case 0:
                return {key: value for key, value in document.items() if key != name}
            case 1:
                return {**document, f"{name}{random.choice(('', '_', chr(0)))}x": document[name]}
            case 2 | 3:
                return {**document, name: random.choice(_ODD)}
            case _:
                return {**document, name: _changed(random, document[name])}
    if isinstance(document, list) and document and random.random() < 0.9:
        place = random.randrange(len(document))
        return [*document[:place], _changed(random, document[place]), *document[place + 1 :]]
    return random.choice(_ODD)


def _encode(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")
