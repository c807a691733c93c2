"""Secrets and Namespaces as clients in Go send them: Kubernetes' protobuf, of which only these two are read.

The numbers are those of core/v1 and meta/v1 in `generated.proto` of k8s.io/api and k8s.io/apimachinery.
"""

import base64
from collections import defaultdict

from tests.k8s.rendering import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_BYTES, _VARINT = 2, 0


def decoded(body: bytes) -> Object:
    """The object in a body; raises ValueError at any other kind."""
    if not body.startswith(_MAGIC):
        raise ValueError("no protobuf of Kubernetes")
    envelope = _fields(body[len(_MAGIC) :])
    meta = _fields(envelope[1][0])
    kind, fields = meta[2][0].decode(), _fields(envelope[2][0])
    if kind not in ("Secret", "Namespace"):
        raise ValueError(f"a {kind} in protobuf is not read here")
    one: Object = {"apiVersion": meta[1][0].decode(), "kind": kind, "metadata": _metadata(fields[1][0])}
    if kind == "Secret":
        one["data"] = {key: base64.b64encode(value).decode() for key, value in _map(fields[2]).items()}
        one["data"] |= {key: base64.b64encode(value).decode() for key, value in _map(fields[4]).items()}
        if fields[3]:
            one["type"] = fields[3][0].decode()
    return one


def _metadata(body: bytes) -> Object:
    fields = _fields(body)
    texts = {name: fields[number][0].decode() for name, number in (("name", 1), ("namespace", 3)) if fields[number]}
    maps = {name: _map(fields[number]) for name, number in (("labels", 11), ("annotations", 12)) if fields[number]}
    return {
        **{name: text for name, text in texts.items() if text},
        **{name: {key: value.decode() for key, value in found.items()} for name, found in maps.items()},
    }


def _map(entries: list[bytes]) -> dict[str, bytes]:
    pairs = map(_fields, entries)
    return {pair[1][0].decode(): pair[2][0] if pair[2] else b"" for pair in pairs}


def _fields(body: bytes) -> defaultdict[int, list[bytes]]:
    """The values of a message that have a length, by number; numbers are left out."""
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        if tag & 7 == _BYTES:
            length, at = _varint(body, at)
            found[tag >> 3].append(body[at : at + length])
            at += length
        elif tag & 7 == _VARINT:
            _, at = _varint(body, at)
        else:
            raise ValueError("a field of a kind that is not read here")
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
