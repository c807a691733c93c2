"""JSON in and out: one parse and one serialisation a body, exact dollars, errors that name the field."""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import msgspec.structs
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from asahi_core.errors import Cancelled, InvalidRequest, RequestTooLarge, UnsupportedMediaType
from asahi_core.money import dollars

BodyT = TypeVar("BodyT")
_PATH = re.compile(r"(?P<fault>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")


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


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body.

    Raises:
        UnsupportedMediaType: it is declared as something other than JSON.
        RequestTooLarge: it has more than `limit` bytes; reading stops there.
        Cancelled: the caller left before its end.
    """
    declared = request.headers.get("content-type", "application/json")
    if declared.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(f"The body must be application/json, not {declared[:100]!r}.")
    length = request.headers.get("content-length", "0")
    too_large = RequestTooLarge(f"The body may have at most {limit} bytes.")
    if length.isdigit() and int(length) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect as error:
        raise Cancelled("The caller left before the whole body had come.") from error
    return bytes(body)


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises InvalidRequest."""
    try:
        decoded = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error
    if not isinstance(decoded, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return decoded


def convert(decoded: dict[str, Any], shape: type[BodyT]) -> BodyT:
    """`decoded` as `shape`; raises InvalidRequest that names the field, the value's fault and what is accepted."""
    try:
        return msgspec.convert(decoded, shape)
    except msgspec.ValidationError as error:
        missing = _MISSING.fullmatch(str(error))
        if missing is not None:
            name = missing["name"]
            raise InvalidRequest(f"The field '{name}' is missing.", param=name) from error
        found = _PATH.fullmatch(str(error))
        fault, path = (found["fault"], found["path"]) if found is not None else (str(error), "")
        accepted = _accepted(shape, path) if fault.startswith("Invalid enum value") else ""
        told = f"{path}: {fault}{accepted or _value_at(decoded, path)}." if path else f"{fault}."
        raise InvalidRequest(told.replace("`", "'"), param=path or None) from error


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
    """The short plain value that was sent at a top-level `path`; prompts are never repeated."""
    value = decoded.get(path)
    is_short_text = isinstance(value, str) and len(value) <= 40 and path not in {"prompt", "system", "document"}
    if is_short_text or isinstance(value, int | float | bool):
        return f", sent: {value!r}"
    return ""
