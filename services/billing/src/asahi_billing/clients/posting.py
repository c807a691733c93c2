"""One POST over a connection of its own, to an address and not to what a name leads to now."""

import socket
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


async def post(url: str, address: str, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext) -> int:
    """The status of the answer, which is not read.

    Raises:
        OSError: there is none.
    """
    connector = aiohttp.TCPConnector(resolver=_Pinned(address), ssl=tls, use_dns_cache=False, force_close=True, limit=1)
    try:
        async with aiohttp.ClientSession(
            connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            answer = await session.post(url, data=body, headers=dict(headers), allow_redirects=False)
            answer.close()  # of its body nothing is read, however long it is
            return answer.status
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(f"the post failed: {type(error).__name__}") from error


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
