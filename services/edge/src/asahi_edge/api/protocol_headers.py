"""Headers of a provider's protocol that go on with the body: they decide how it is read."""

import re
from collections.abc import Mapping

from asahi.type.v1.chat_pb2 import Api
from asahi_core.errors import InvalidRequest

_PASSED = {Api.API_ANTHROPIC_MESSAGES: ("anthropic-version", "anthropic-beta")}
_OPERATORS = ("anthropic-workspace-id", "anthropic-user-profile-id")
"""What names a part of the operator's account with the provider, which no caller chooses."""
_USUAL = ("anthropic-version", "2023-06-01")
"""What a provider is told where the caller says nothing."""
_SAFE = re.compile(r"[A-Za-z0-9._,;:=/+ -]{1,2000}")


def protocol_headers(api: Api.ValueType, headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the caller's headers that belong to the protocol; raises InvalidRequest for one that is none."""
    for name in _OPERATORS:
        if api in _PASSED and name in headers:
            raise InvalidRequest(f"The account with the provider is the operator's; leave {name} out.", param=name)
    found = {name: headers[name] for name in _PASSED.get(api, ()) if name in headers}
    for name, value in found.items():
        if not _SAFE.fullmatch(value):
            raise InvalidRequest(f"Header {name}: {value[:40]!r} is not a list of names.", param=name)
    return found


def headers_apart(headers: Mapping[str, str]) -> dict[str, str]:
    """What of them sets a question apart from the same without."""
    return {name: value for name, value in headers.items() if (name, value) != _USUAL}
