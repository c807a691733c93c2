"""Loopback TCP proxies between the processes of an installation, which slow connections down, cut and silence them."""

import asyncio
from contextlib import suppress

from tests.installation import free_port

_CHUNK = 64 * 1024


class Link:
    """Passes connections on to a port; belongs to the event loop it was opened in."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._delay_s = 0.0
        self._is_cut = False
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Ends everything."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def slow(self, delay_s: float) -> None:
        """Every piece is held so long, in both directions."""
        self._delay_s = delay_s

    def silence(self) -> None:
        """Nothing passes, and nobody is told: what is sent waits."""
        self._speaks.clear()

    def cut(self) -> None:
        """Connections are reset, new ones too."""
        self._is_cut = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        """Everything passes again."""
        self._delay_s = 0.0
        self._is_cut = False
        self._speaks.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(onward)
        try:
            await asyncio.gather(self._pump(reader, onward), self._pump(onward_reader, writer))
        finally:
            for one in (writer, onward):
                self._writers.discard(one)
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes one direction on until its end, which ends the other one's writer."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._speaks.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                return
        writer.transport.abort()
