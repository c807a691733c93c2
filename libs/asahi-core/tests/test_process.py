"""A service as a process: it ends when told to, and never dumps its memory."""

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio, resource
from asahi_core.process import run_service

async def serve(stop):
    print(type(asyncio.get_running_loop()).__module__, resource.getrlimit(resource.RLIMIT_CORE), flush=True)
    await stop.wait()
    print("stopped", flush=True)

run_service(serve)
"""
_GUARD_S = 120


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_on_uvloop_and_without_core_dumps(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split(maxsplit=1) == ["uvloop", "(0, 0)\n"]
        process.send_signal(number)
        assert process.stdout.read() == "stopped\n"
        assert process.wait(_GUARD_S) == 0


def test_what_a_service_raises_ends_the_process() -> None:
    program = _PROGRAM.replace('print("stopped", flush=True)', "").replace("await stop.wait()", "raise OSError('no')")
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=_GUARD_S, check=False
    )
    assert ended.returncode == 1
    assert "OSError: no" in ended.stderr
