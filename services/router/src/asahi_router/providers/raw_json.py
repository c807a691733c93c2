"""JSON objects of which only the top level is looked at: what is not touched stays as it was written."""

from typing import Any

import msgspec

from asahi_core.errors import InvalidRequest

Raw = msgspec.Raw
TRUE, FALSE = Raw(b"true"), Raw(b"false")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_object(body: bytes) -> dict[str, Raw]:
    """The fields of `body`.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    try:
        return _object.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error


def raw(value: Any) -> Raw:
    """`value` as JSON."""
    return Raw(msgspec.json.encode(value))
