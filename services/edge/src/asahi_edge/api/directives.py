"""The headers that inference paths take: cache directives and tags."""

import re
from collections.abc import Mapping

from asahi_core.errors import InvalidRequest
from asahi_edge.domain.inference import CacheDirectives

_MAX_TAGS = 10
_TAG = re.compile(r"\s*([A-Za-z0-9_.-]{1,64})=([^,=]{1,128}?)\s*")
_SWITCHES = {"on", "off", "exact"}


def cache_directives(headers: Mapping[str, str], *, exact_tier: int = 1) -> CacheDirectives:
    """What `Cache-Control` and `x-asahi-cache` allow to a request whose exact repeats are of this tier."""
    switch = headers.get("x-asahi-cache", "on").lower()
    if switch not in _SWITCHES:
        raise InvalidRequest(f"Header x-asahi-cache: {switch[:40]!r} is none of on, off, exact.", param="x-asahi-cache")
    if switch == "off" or (switch == "exact" and exact_tier != 1):
        return CacheDirectives(read=False, write=False)
    read, write, max_age_s = True, True, None
    similar = switch != "exact"
    for directive in headers.get("cache-control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-store":
            read = write = False
        elif name == "no-cache":
            read = False
        elif name == "max-age":
            if not (value.isascii() and value.isdigit() and len(value) <= 10):
                raise InvalidRequest(
                    f"Header cache-control: max-age={value[:40]!r} is not a number of seconds.", param="cache-control"
                )
            max_age_s = float(value)
    return CacheDirectives(read, write, max_age_s, similar=similar)


def tags(headers: Mapping[str, str]) -> dict[str, str]:
    """The tags of `x-asahi-tags: k=v,k2=v2`; at most ten."""
    header = headers.get("x-asahi-tags", "")
    found: dict[str, str] = {}
    for pair in filter(str.strip, header.split(",")):
        match = _TAG.fullmatch(pair)
        if match is None:
            raise InvalidRequest(
                f"Header x-asahi-tags: {pair.strip()[:80]!r} is not NAME=VALUE (64 and 128 characters at most).",
                param="x-asahi-tags",
            )
        found[match[1]] = match[2]
    if len(found) > _MAX_TAGS:
        raise InvalidRequest(f"Header x-asahi-tags: {len(found)} tags; at most {_MAX_TAGS}.", param="x-asahi-tags")
    return found
