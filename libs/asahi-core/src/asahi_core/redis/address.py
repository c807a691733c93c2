"""Addresses of a Redis: of one server, or of the Sentinels that watch over several."""

import re

SERVER = ("redis://", "rediss://", "unix://")
SENTINELS = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<who>[^@/]*@)?(?P<hosts>[^/?@]+)/(?P<name>[^/?]+)"
    r"(?P<database>/[0-9]+)?(?P<more>\?.*)?"
)
"""`redis+sentinel://user:password@host:26379,host:26379/name/0`, `rediss` for TLS."""


def is_redis(url: str) -> bool:
    """Whether it is one of either kind."""
    return url.startswith(SERVER) or SENTINELS.fullmatch(url) is not None
