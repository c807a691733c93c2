"""Stands in for a service or the simulator: `program.py NAME`. Speaks what `asahi up` asks of it, and can misbehave.

ASAHI_STAND_IN_FOLDER: where it writes its environment, and keeps the keys that it gave.
ASAHI_STAND_IN_<NAME>: `refuse` (exit code 78), `broken` (ends at once, always), `deaf` (ignores SIGTERM).
"""

import json
import os
import secrets
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

NAME = sys.argv[1]
FOLDER = Path(os.environ["ASAHI_STAND_IN_FOLDER"])
MANNER = os.environ.get(f"ASAHI_STAND_IN_{NAME.upper()}", "")


class Pages(BaseHTTPRequestHandler):
    """What the edge and the simulator are asked."""

    def do_GET(self) -> None:
        if self.path in ("/health/ready", "/v1/models"):
            self._answer(200, {"status": "ok"})
        elif self.path.startswith("/governance/api-keys"):
            sent = self.headers.get("authorization", "").removeprefix("Bearer ")
            self._answer(200 if sent in _keys() else 401, {"data": [], "error": {"code": "invalid_api_key"}})
        else:
            self._answer(404, {"error": {"message": "not here", "code": "not_found"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        key = f"ask_{secrets.token_hex(8)}"
        with (FOLDER / "keys").open("a") as file:
            file.write(f"{key}\n")
        self._answer(201, {"org_id": f"org_{len(_keys())}", "api_key": key})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        fields = {"method": self.command, "path": self.path, "status": status, "ms": 1.25, "cost_usd": "0.000001"}
        print(json.dumps({"event": "request", "level": "info", "service": NAME, **fields}), flush=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Said as JSON above."""


def _keys() -> list[str]:
    path = FOLDER / "keys"
    return path.read_text().split() if path.exists() else []


def _serve_http(address: str) -> None:
    host, _, port = address.rpartition(":")
    threading.Thread(target=ThreadingHTTPServer((host, int(port)), Pages).serve_forever, daemon=True).start()


def _serve_grpc(address: str) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(2))
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(address)
    server.start()
    return server


def main() -> None:
    (FOLDER / f"{NAME}.json").write_text(json.dumps(dict(os.environ)))
    if MANNER == "refuse":
        print(f"asahi-{NAME}: ASAHI_SOMETHING: Input should be a number", file=sys.stderr, flush=True)
        sys.exit(os.EX_CONFIG)
    if MANNER == "broken":
        print("ModuleNotFoundError: No module named 'absent'", file=sys.stderr, flush=True)
        sys.exit(1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if MANNER == "deaf" else stop.set())
    if NAME == "edge":
        _serve_http(os.environ["ASAHI_HTTP_ADDRESS"])
    elif NAME == "simulator":
        _serve_http(os.environ["ASAHI_SIMULATOR_ADDRESS"])
    else:
        kept = _serve_grpc(os.environ["ASAHI_GRPC_ADDRESS"])  # noqa: F841 - it ends with its last reference
    print(f"plain words of {NAME}", flush=True)
    stop.wait()  # what serves does so in threads of its own
    print(json.dumps({"event": "stopping", "level": "info", "service": NAME}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
