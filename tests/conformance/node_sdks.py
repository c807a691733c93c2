"""The official SDKs of Node, driven over a pipe by `node/drive.mjs`."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from tests.conformance.places import Place
from tests.integrations.environments import made

_LONGEST_S = 180.0
_DRIVER = Path(__file__).parent / "node" / "drive.mjs"
_NO_SETTINGS: Mapping[str, Any] = {}


class NodeError(Exception):
    """What an SDK threw."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"])
        self.kinds: list[str] = told["kinds"]
        """Its class, and those that it inherits from."""
        self.told = told


class NodeSdks:
    """A process of Node that has loaded both SDKs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(
        self, sdk: str, way: str, at: Place, question: Mapping[str, Any], settings: Mapping[str, Any] = _NO_SETTINGS
    ) -> Any:
        """What the user of `sdk` sees who asks `question` in this way.

        Raises:
            NodeError: what the user would have to catch.
        """
        headers = question.get("extra_headers", {})
        body = {name: value for name, value in question.items() if not name.startswith("extra_")}
        job = {
            "sdk": sdk,
            "url": at.url,
            "key": at.key,
            "way": way,
            "question": body | question.get("extra_body", {}),
            "options": {"headers": headers},
            "settings": settings,
        }
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        watchdog = Timer(_LONGEST_S, self._process.kill)
        watchdog.start()
        try:
            pipe_in.write(json.dumps(job) + "\n")
            pipe_in.flush()
            line = pipe_out.readline()
        finally:
            watchdog.cancel()
        assert line, f"Node ended over {sdk} {way}"
        answer = json.loads(line)
        if "error" in answer:
            raise NodeError(answer["error"])
        return answer["value"]


@contextmanager
def node_sdks() -> Iterator[NodeSdks]:
    """Both SDKs while the block runs; the first time their environment is made."""
    folder = made("conformance")
    shutil.copy(_DRIVER, folder)
    with subprocess.Popen(
        ["node", _DRIVER.name], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield NodeSdks(process)
        finally:
            process.kill()
