"""`python -m bench.forged`: what forged keys at full speed do to who has a valid one.

Another process sends questions with up to 10 000 forged keys, each with a right checksum and never the same twice, as
fast as they are refused, over one, four and sixteen connections; meanwhile a caller with a valid key asks what is
cached, one request at a time. Exit code 1 if the median of the valid caller's latency is more than twice that without
forgers, in the median of the rounds.
"""

import asyncio
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx2

from asahi_core.ids import SystemIds
from asahi_core.keys import mint_key
from bench.machine import conditions, load_average
from bench.report import quantile
from tests.installation import Installation, running_installation

_KEYS = 10_000
_CONNECTIONS = (1, 4, 16)
_ROUNDS = 3
_CALM_S = 4.0
_ATTACK_S = 8.0
_MOST = 2.0
_QUESTION = {"prompt": "What is 6 times 7?"}
_BODY = json.dumps(_QUESTION).encode()


async def _forge(port: int, keys: list[str], connections: int) -> int:
    """How many were refused."""
    remaining, refused = iter(keys), 0
    deadline = time.monotonic() + _ATTACK_S

    async def ask() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for key in itertools.takewhile(lambda _: time.monotonic() < deadline, remaining):
            head = f"POST /infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
            writer.write(head.encode() + _BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer[9:12] in {b"401", b"429"}, f"a forged key was answered {answer[:80]!r}"
            at = answer.lower().index(b"content-length:") + 15
            await reader.readexactly(int(answer[at:].split(b"\r\n", 1)[0]))
            refused += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return refused


def _attack(port: int, keys: list[str], connections: int, refused: "Synchronized[int]", done: Event) -> None:
    refused.value = asyncio.run(_forge(port, keys, connections))
    done.set()


def _latencies_ms(client: httpx2.Client, over: Callable[[], bool]) -> list[float]:
    """Of the valid caller, sorted."""
    latencies: list[float] = []
    while not over():
        started = time.perf_counter()
        answer = client.post("/infer", json=_QUESTION)
        latencies.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, answer.text
    return sorted(latencies)


def _calm_ms(client: httpx2.Client) -> list[float]:
    deadline = time.monotonic() + _CALM_S
    return _latencies_ms(client, lambda: time.monotonic() > deadline)


def _attacked_ms(installation: Installation, client: httpx2.Client, connections: int) -> tuple[list[float], float]:
    """The valid caller's latencies, and how many forged keys a second were refused."""
    ids = SystemIds()
    keys = [mint_key(ids) for _ in range(_KEYS)]
    done = multiprocessing.Event()
    refused: Synchronized[int] = multiprocessing.Value("i")
    attacker = multiprocessing.Process(
        target=_attack, args=(installation["edge"].http_port, keys, connections, refused, done)
    )
    attacker.start()
    started = time.perf_counter()
    latencies = _latencies_ms(client, done.is_set)
    seconds = time.perf_counter() - started
    attacker.join()
    assert attacker.exitcode == 0, "the attack failed"
    return latencies, refused.value / seconds


def _run() -> tuple[str, bool]:
    load_before = load_average()
    lines = ["| forgers' connections | refused/s | valid p50 ms | p99 ms | p50 to calm |", "|--:|--:|--:|--:|--:|"]
    fine = True
    with (
        tempfile.TemporaryDirectory(prefix="asahi-bench-") as folder,
        running_installation(Path(folder)) as installation,
        installation.signup().client() as client,
    ):
        _calm_ms(client)
        for connections in _CONNECTIONS:
            ratios: list[float] = []
            for _ in range(_ROUNDS):
                calm = quantile(_calm_ms(client), 0.5)
                attacked, per_second = _attacked_ms(installation, client, connections)
                ratios.append(quantile(attacked, 0.5) / calm)
                lines.append(
                    f"| {connections} | {per_second:.0f} | {quantile(attacked, 0.5):.2f} "
                    f"| {quantile(attacked, 0.99):.2f} | {ratios[-1]:.2f} × |"
                )
            fine &= sorted(ratios)[_ROUNDS // 2] <= _MOST
    return "\n".join([conditions("python -m bench.forged", load_before), "", *lines]), fine


def main() -> int:
    """Measures and prints."""
    text, fine = _run()
    print(text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
