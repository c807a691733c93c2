"""Posts alerts: to an address that was checked after resolution, and to no other; answers are not read."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from asahi_billing.domain.alert_targets import Target, TargetRules

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses that a name leads to. Raises OSError."""
_TIMEOUT_S = 10.0


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
        self._tls = tls or ssl.create_default_context()
        self._timeout_s = timeout_s

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer."""
        target = self._rules.target(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = self._rules.permitted(target, await self._resolve(target.host, target.port))
                return await self._post(target, address, body, headers)
        except TimeoutError as error:
            raise OSError(f"there was no answer in {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(f"the post failed: {type(error).__name__}") from error

    async def _post(self, target: Target, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(address), ssl=self._tls, use_dns_cache=False, force_close=True, limit=1
        )
        async with aiohttp.ClientSession(
            connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            answer = await session.post(target.url, data=body, headers=dict(headers), allow_redirects=False)
            answer.close()  # of its body nothing is read, however long it is
            return answer.status


class _Pinned(AbstractResolver):
    """Every name leads to the address that was checked."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """There is nothing to close."""


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` by the system's resolver; those of an address are itself, written plainly."""
    found: Any = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]).partition("%")[0] for entry in found]
