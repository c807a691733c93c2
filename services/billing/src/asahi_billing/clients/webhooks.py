"""Posts alerts: to an address that was checked after resolution, and to no other; answers are not read."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from asahi_billing.domain.alert_targets import TargetRules

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses that a name leads to. Raises OSError."""
_TIMEOUT_S = 10.0
_POSTING = "asahi_billing.clients.posting"


class WebhookClient:
    """A `Webhook`. Each post has a connection of its own, at most `timeout_s` from the look-up to the answer's head."""

    def __init__(
        self,
        rules: TargetRules,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._rules = rules
        self._resolve = resolve or resolved
        self._tls = tls
        self._timeout_s = timeout_s

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer."""
        target = self._rules.target(url)
        # The client takes 8 MB and certificates 1: only where alerts are posted.
        posting = await asyncio.to_thread(import_module, _POSTING)
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = self._rules.permitted(target, await self._resolve(target.host, target.port))
                status: int = await posting.post(target.url, address, body, headers, self._tls)
                return status
        except TimeoutError as error:
            raise OSError(f"there was no answer in {self._timeout_s:g} s") from error


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` by the system's resolver; those of an address are itself, written plainly."""
    found: Any = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]).partition("%")[0] for entry in found]
