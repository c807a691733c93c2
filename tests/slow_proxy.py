"""A proxy on loopback in front of a server, which hands everything on as late as it is told to, or not at all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SlowProxy:
    """Connections through it take `delay_s` longer, each way; it runs on a thread of its own."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.delay_s = 0.0
        self.refuses = False
        """Whether connections end at once, those that stand with the next thing said."""
        self.port = 0
        self._target = target_host, target_port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._connections: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Returns when it takes connections."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Breaks all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        with suppress(OSError, asyncio.CancelledError):
            try:
                there_reader, there_writer = await asyncio.open_connection(*self._target)
                await asyncio.gather(self._hand_on(reader, there_writer), self._hand_on(there_reader, writer))
            finally:
                writer.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while (data := await reader.read(65_536)) and not self.refuses:
                    await asyncio.sleep(self.delay_s)
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()


@contextmanager
def slow_proxy(target_port: int, target_host: str = "127.0.0.1") -> Iterator[SlowProxy]:
    """A running proxy in front of a port."""
    proxy = SlowProxy(target_port, target_host)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
