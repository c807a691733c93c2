"""A receiver of webhooks on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """Refuses every post until it `takes` them."""

    takes = False


@contextmanager
def receiver(port: int) -> Iterator[Receiver]:
    """Listens on a port of loopback."""
    server = Receiver(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.server.takes else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""
