"""JSON in and out: one parse and one serialisation a body, exact dollars, errors that name the field."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import msgspec.structs
from fastapi import Response

from asahi_core.errors import InvalidRequest
from asahi_core.money import dollars
from asahi_edge.api.fields import closest
from asahi_edge.api.strictness import MAX_DEPTH, MAX_NODES, require_few_values, require_shallow, require_unique_names

BodyT = TypeVar("BodyT")
_PATH = re.compile(r"(?P<fault>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_EXPLAINED = 1024 * 1024
"""Bytes of a body that is read a second time to explain what is wrong with it."""
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)


class Dollars:
    """An amount that is written as a JSON number of dollars, exactly."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos


def _encode_dollars(value: Any) -> msgspec.Raw:
    if isinstance(value, Dollars):
        return msgspec.Raw(dollars(value.nanos).encode("ascii"))
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode_dollars)
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """`value` (structs, built-ins, `Dollars`) as JSON, UTF-8."""
    return _encoder.encode(value)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as a JSON answer."""
    return Response(encode(value), status_code=status, headers=headers, media_type="application/json")


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises InvalidRequest."""
    if not body:
        raise InvalidRequest("The body is empty; send a JSON object.")
    if len(body) > MAX_NODES:
        require_few_values(body)
    try:
        decoded = _decoder.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not valid JSON: a text in it is not UTF-8.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {_fault(body, error)}.") from error
    except RecursionError as error:
        raise InvalidRequest(f"The body is nested more than {MAX_DEPTH} levels deep.") from error
    if not isinstance(decoded, dict):
        raise InvalidRequest(f"The body must be a JSON object, in braces; it is {_KINDS[type(decoded)]}.")
    require_shallow(body, decoded)
    require_unique_names(body, decoded, encode)
    return decoded


def _fault(body: bytes, error: msgspec.DecodeError) -> str:
    """What is wrong with a text that is no JSON, by line and column where the slower parser sees it, too."""
    if len(body) <= _EXPLAINED:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as known:
            if isinstance(known, json.JSONDecodeError):
                return str(known)
        else:
            return "it has NaN, a number out of range, or half of a surrogate pair"
    return str(error).partition(" - at")[0].removeprefix("JSON is malformed: ")


def convert(decoded: dict[str, Any], shape: type[BodyT]) -> BodyT:
    """`decoded` as `shape`; raises InvalidRequest that names the field, the value's fault and what is accepted."""
    try:
        return msgspec.convert(decoded, shape)
    except msgspec.ValidationError as error:
        missing = _MISSING.fullmatch(str(error))
        if missing is not None:
            raise _missing_field(missing["name"], decoded, shape) from error
        unknown = _UNKNOWN.fullmatch(str(error))
        if unknown is not None:
            raise _unknown_field(unknown["name"], unknown["path"] or "", shape) from error
        found = _PATH.fullmatch(str(error))
        fault, path = (found["fault"], found["path"]) if found is not None else (str(error), "")
        accepted = _accepted(shape, path) if fault.startswith("Invalid enum value") else ""
        told = f"{path}: {fault}{accepted or _value_at(decoded, path)}." if path else f"{fault}."
        raise InvalidRequest(told.replace("`", "'"), param=path or None) from error


def _missing_field(name: str, decoded: dict[str, Any], shape: type) -> InvalidRequest:
    meant = closest(name, decoded.keys() - field_names(shape))
    hint = f" Did you mean it by {meant[:40]!r}?" if meant else ""
    return InvalidRequest(f"The field '{name}' is missing.{hint}", param=name)


def _unknown_field(name: str, path: str, shape: type) -> InvalidRequest:
    known = field_names(shape) if not path else ()
    meant = closest(name, known)
    others = f"the fields are {', '.join(known)}." if known else "leave it out."
    hint = f"did you mean '{meant}'?" if meant else others
    where = f"{path}: there" if path else "There"
    return InvalidRequest(f"{where} is no field {name[:40]!r}; {hint}", param=f"{path}.{name[:40]}" if path else name)


def field_names(shape: type) -> tuple[str, ...]:
    """The names of a struct's fields as they are written."""
    names: tuple[str, ...] = getattr(shape, "__struct_encode_fields__")  # noqa: B009 - typed only on instances
    return names


def _accepted(shape: type, path: str) -> str:
    """The values that the top-level field at `path` takes, if they are listed."""
    name = path.partition("[")[0]
    types = [field.type for field in msgspec.structs.fields(shape) if field.encode_name == name]
    values: list[str] = []
    for kind in types:
        if get_origin(kind) is Literal:
            values += map(str, get_args(kind))
        else:
            types += get_args(kind)
    return f", accepted: {', '.join(values)}" if values else ""


def _value_at(decoded: dict[str, Any], path: str) -> str:
    """The plain value that was sent at a top-level `path`, or its size; prompts are never repeated."""
    value = decoded.get(path)
    if isinstance(value, str):
        is_told = len(value) <= 40 and path not in {"prompt", "system", "document"}
        return f", sent: {value!r}" if is_told else f", sent: {len(value)} characters"
    if isinstance(value, list):
        return f", sent: {len(value)} entries"
    return f", sent: {value!r}"[:60] if isinstance(value, int | float) else ""
