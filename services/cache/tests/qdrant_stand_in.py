"""A stand-in for a Qdrant server: the REST calls that `stores.qdrant_server` makes, answered from memory.

It knows what Qdrant's REST reference says of these calls and no more: unknown paths are 404, unknown conditions 400.
`python -m services.cache.tests.qdrant_stand_in PORT` serves one as a process of its own.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

_PATH = re.compile(r"/collections/([^/?]+)(?:/(exists|index|points(?:/(?:scroll|query|delete))?))?(?:\?.*)?")


class StandIn:
    """Collections of points, and ways to make the server fail."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.indexes: dict[str, dict[str, Any]] = {}
        self.directions: dict[tuple[str, Any], np.ndarray[Any, Any]] = {}
        """Vectors of length 1, by collection and point."""
        self.broken = False
        self.delay_s = 0.0
        self.calls = 0
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """(status, result) of one call."""
        self.calls += 1
        time.sleep(self.delay_s)
        match = _PATH.fullmatch(path)
        if self.broken or match is None:
            return (500, "out of order") if self.broken else (404, f"no such path {path}")
        name, call = match[1], match[2]
        with self.lock:
            return self._answer(method, name, call, body)

    def _answer(self, method: str, name: str, call: str | None, body: Any) -> tuple[int, Any]:
        if (method, call) == ("GET", "exists"):
            return 200, {"exists": name in self.collections}
        known = name in self.collections
        if (method, call) == ("PUT", None) and not known:
            self.collections[name], self.indexes[name] = {}, {}
            return 200, True
        if not known or call is None:
            return (409, "Collection already exists") if known else (404, f"Collection {name} does not exist")
        answer = self._points(f"{method} {call}", name, body)
        return (405, f"{method} {call} is none of the calls") if answer is None else (200, answer)

    def _points(self, call: str, name: str, body: Any) -> Any:
        points = self.collections[name]
        match call:
            case "POST points/scroll":
                return _scroll(points, body)
            case "POST points/query":
                return self._query(name, body)
            case "PUT index":
                self.indexes[name][body["field_name"]] = body["field_schema"]
            case "PUT points":
                for point in body["points"]:
                    points[point["id"]] = point
                    self.directions[name, point["id"]] = _direction(point["vector"])
            case "POST points/delete":
                doomed = body.get("points") or [key for key, one in points.items() if _fits(one, body["filter"])]
                for key in doomed:
                    points.pop(key, None)
            case _:
                return None
        return {"operation_id": self.calls, "status": "completed"}

    def _query(self, name: str, body: Any) -> Any:
        wanted = _direction(body["query"]["nearest"] if isinstance(body["query"], dict) else body["query"])
        found = [one for one in self.collections[name].values() if _fits(one, body.get("filter"))]
        if not found:
            return {"points": []}
        scores = np.stack([self.directions[name, one["id"]] for one in found]) @ wanted
        best = np.argsort(-scores, kind="stable")[: body["limit"]]
        return {
            "points": [
                {"id": found[n]["id"], "version": 1, "score": float(scores[n]), "payload": found[n]["payload"]}
                for n in best
            ]
        }


def _direction(vector: Any) -> "np.ndarray[Any, Any]":
    array = np.asarray(vector)
    return array / float(np.linalg.norm(array))


def _scroll(points: dict[str, Any], body: Any) -> Any:
    fitting = sorted(key for key, one in points.items() if _fits(one, body.get("filter")))
    fitting = [key for key in fitting if not body.get("offset") or key >= body["offset"]]
    page, rest = fitting[: body["limit"]], fitting[body["limit"] :]
    return {"points": [points[key] for key in page], "next_page_offset": rest[0] if rest else None}


def _fits(point: Any, chosen: Any) -> bool:
    return all(_holds(point["payload"], condition) for condition in (chosen or {}).get("must", ()))


def _holds(payload: Any, condition: Any) -> bool:
    kept = payload.get(condition["key"])
    if condition.get("match"):
        wanted = condition["match"]["value"]
        return bool(wanted in kept if isinstance(kept, list) else wanted == kept)
    compare = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
    limits = {name: limit for name, limit in condition["range"].items() if limit is not None}
    return all(getattr(float(kept), compare[name])(float(limit)) for name, limit in limits.items())


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of callers who left."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _server(stand_in: StandIn, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length)
            if len(sent) < length:  # whoever asked has left
                self.close_connection = True
                return
            body = json.loads(sent) if sent else None
            status, result = stand_in.answer(self.command, self.path, body)
            said = {"result": result} if status == 200 else {"status": {"error": result}}
            content = json.dumps({"time": 0.0, "status": "ok", **said}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _reply  # noqa: N815 - the names are http.server's

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return _Server(("127.0.0.1", port), Handler)


@contextmanager
def qdrant_stand_in() -> Iterator[tuple[str, StandIn]]:
    """Its URL, and the stand-in."""
    stand_in = StandIn()
    server = _server(stand_in, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    _server(StandIn(), int(sys.argv[1])).serve_forever()
