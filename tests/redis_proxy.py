"""A proxy on loopback in front of a server, which hands everything on as late as it is told to."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SlowProxy:
    """Connections through it take `delay_s` longer, each way; it runs on a thread of its own."""

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.port = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Returns when it takes connections."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Breaks all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._hand_on(reader, there_writer), self._hand_on(there_reader, writer))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def slow_proxy(target_port: int) -> Iterator[SlowProxy]:
    """A running proxy in front of a port of this machine."""
    proxy = SlowProxy(target_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
