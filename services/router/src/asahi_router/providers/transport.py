"""HTTP to one provider: pooled connections, bounded answers, and failures in the domain's words."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from asahi_core.clock import Clock
from asahi_router.domain.provider import FailureKind, ProviderFailure
from asahi_router.providers.config import ProviderConfig
from asahi_router.providers.failure import failure_from_status
from asahi_router.providers.progress import Progress
from asahi_router.providers.question_body import QuestionBody
from asahi_router.providers.sse import EventSplitter

_MOST_ERROR_BYTES = 64 * 1024
_KEEP_ALIVE_S = 60.0
_DNS_S = 60
_LINGER_S = 0.05


class Transport:
    """One session, opened with the first call. A call is never repeated here: whoever pays must know of it."""

    def __init__(self, config: ProviderConfig, path: str, headers: Mapping[str, str], clock: Clock) -> None:
        """`headers`: those of every call, the key among them."""
        self._config = config
        self._base = URL(config.base_url.rstrip("/"))
        self._urls = {"": self._base / path.lstrip("/")}
        """By path; the protocols have a few."""
        self._headers = {
            **headers,
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "asahi",
        }
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        times = config.timeouts
        self._plain_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=times.connect_s, sock_read=times.whole_s, ceil_threshold=60
        )
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=times.connect_s, sock_read=times.silence_s, ceil_threshold=60
        )

    async def post(self, body: bytes, headers: Mapping[str, str], progress: Progress, path: str = "") -> bytes:
        """The whole body of a successful answer; `path`: where, if not at the protocol's own.

        Raises:
            ProviderFailure: there is none.
        """
        config = self._config
        whole = bytearray()
        try:
            async with (
                self._open(QuestionBody(body, progress), headers, self._plain_timeout, path) as response,
                asyncio.timeout(config.timeouts.whole_s),
            ):
                size = response.content_length
                progress.promise(size or 0)
                if size is not None and size <= config.max_answer_bytes:
                    return await response.read()
                async for chunk in response.content.iter_any():
                    whole += chunk
                    if len(whole) > config.max_answer_bytes:
                        raise progress.failure(FailureKind.FAILED, "its answer is too long")
                return bytes(whole)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failure(error, progress) from error

    async def stream(
        self, body: bytes, headers: Mapping[str, str], progress: Progress, path: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """The data of each event of a successful answer; `path`: where, if not at the protocol's own.

        Raises:
            ProviderFailure: there is none, or it broke off.
        """
        config = self._config
        splitter = EventSplitter(config.max_answer_bytes)
        left = config.max_answer_bytes
        try:
            async with (
                self._open(QuestionBody(body, progress), headers, self._stream_timeout, path) as response,
                asyncio.timeout(config.timeouts.whole_s),
            ):
                progress.answering = True
                content = response.content
                while chunk := await content.readany():
                    left -= len(chunk)
                    if left < 0:
                        raise progress.failure(FailureKind.INTERRUPTED, "its answer is too long")
                    for event in splitter.feed(chunk):
                        yield event
                    if progress.ended:
                        await _await_end(content)
                        return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failure(error, progress) from error

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _open(
        self,
        body: QuestionBody,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
        path: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._opened().post(
            self._url(path),
            data=body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                told = await response.content.read(_MOST_ERROR_BYTES)
                raise failure_from_status(response.status, response.headers, told, self._clock.now())
            yield response

    def _url(self, path: str) -> URL:
        known = self._urls.get(path)
        if known is None:
            known = self._urls[path] = self._base / path.lstrip("/")
        return known

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._config.connections, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_S
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_field_size=32_768,
            )
        return self._session


async def _await_end(content: aiohttp.StreamReader) -> None:
    """Waits a moment for the end of a body whose last event was read: only then can its connection be used again."""
    try:
        async with asyncio.timeout(_LINGER_S):
            while await content.readany():
                pass
    except (aiohttp.ClientError, OSError, TimeoutError):
        return


def _failure(error: Exception, progress: Progress) -> ProviderFailure:
    """What a broken connection means. The words name no address."""
    if progress.answering:
        words = "it fell silent" if isinstance(error, TimeoutError) else "the connection broke"
        return progress.failure(FailureKind.INTERRUPTED, words)
    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
        return ProviderFailure(FailureKind.UNREACHABLE, "no connection")
    if isinstance(error, TimeoutError):
        return progress.failure(FailureKind.TIMED_OUT, "it did not answer in time")
    return ProviderFailure(FailureKind.UNREACHABLE, "the connection broke before it answered")
