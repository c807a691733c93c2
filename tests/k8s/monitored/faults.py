"""Faults made real. What is inside `with` is the time of the fault."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from signal import SIGCONT, SIGKILL, SIGSTOP

from services.billing.tests.records import call
from tests.k8s.cluster.installation import certificates
from tests.k8s.monitored.callers import all_delivered, ask_in_vain, asked, meanwhile, need, spend, spend_beyond_budget
from tests.k8s.monitored.installation import Monitored
from tests.k8s.monitored.receiver import receiver
from tests.k8s.monitored.stores import change, lock, now, record, spool
from tests.k8s.processes import Contents

_ANOTHER_AUTHORITY_DAYS = 91
"""Certificates of another validity are made anew, with an authority of their own."""
_FLOOD = 16
_DELIVERED_WITHIN_S = 180.0


@contextmanager
def down(monitored: Monitored, *services: str) -> Iterator[None]:
    """Services that are not there."""
    for name in services:
        monitored.services[name].stop()
    yield
    for name in services:
        monitored.services[name].start()


@contextmanager
def providers_down(monitored: Monitored) -> Iterator[None]:
    """The provider's process is gone."""
    monitored.simulator_process.stop()
    with asked(monitored):
        yield
    monitored.simulator_process.start()
    monitored.simulator_process.wait_ready()


@contextmanager
def callers_leave(monitored: Monitored) -> Iterator[None]:
    """Callers have left whose answers took too long for them."""
    slow = {"mode": "slow", "match": {"contains": "Too late"}, "params": {"first_token_ms": 3000}}
    monitored.simulator.rules(slow)
    for number in range(3):
        ask_in_vain(monitored, f"Too late {number}?", wait_s=0.5)
    monitored.simulator.reset()
    yield


@contextmanager
def throttled_edge(monitored: Monitored) -> Iterator[None]:
    """An edge that gets half of a CPU, as one with a limit does: it stands still for 0.3 of every 0.6 s."""
    with meanwhile(lambda: _halt(monitored, "edge", 0.3)):
        yield
    monitored.services["edge"].signal(SIGCONT)


@contextmanager
def billing_down_until_the_spool_fills(monitored: Monitored) -> Iterator[None]:
    """Usage of many requests waits; the spool may take 1 MiB here."""
    with down(monitored, "billing"), asked(monitored, tags={f"tag-{number}": "x" * 100 for number in range(8)}):
        yield


@contextmanager
def wrong_record_in_a_spool(monitored: Monitored) -> Iterator[None]:
    """An edge whose spool has a record that another version wrote, and that billing's price book contradicts."""
    edge = monitored.services["edge"]
    edge.stop()
    asyncio.run(spool(monitored, call(1, cost_nanos=1)))
    edge.start()
    yield


@contextmanager
def damaged_spool(monitored: Monitored) -> Iterator[None]:
    """Records that wait on a disk that has flipped some bytes in their midst."""
    edge = monitored.services["edge"]
    with down(monitored, "billing"):
        with asked(monitored), monitored.client() as client:
            for number in range(40):
                client.post("/infer", json={"prompt": f"Damaged {number}?"})
        edge.stop(SIGKILL)
        root = edge.mounts["/var/lib/asahi"] / "spool"
        largest = max((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(64)
        largest.write_bytes(content)
        edge.start()
        yield


@contextmanager
def killed_edge(monitored: Monitored) -> Iterator[None]:
    """SIGKILL to an edge with 30 provider calls under way, whose answers nobody will tell it any more."""
    monitored.simulator.reset()
    monitored.simulator.rules({"mode": "slow", "match": {"contains": "Killed"}, "params": {"first_token_ms": 60_000}})
    threads = [threading.Thread(target=ask_in_vain, args=(monitored, f"Killed {n}?")) for n in range(30)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while sum(call["mode"] == "slow" for call in monitored.simulator.calls()) < len(threads):
        assert time.monotonic() < deadline, "the provider was not called as often as was asked"
        time.sleep(0.1)
    monitored.services["router"].signal(SIGSTOP)  # else it settles them itself
    monitored.services["edge"].stop(SIGKILL)
    monitored.services["router"].stop(SIGKILL)
    for thread in threads:
        thread.join()
    monitored.simulator.reset()
    monitored.services["router"].start()
    monitored.services["edge"].start()
    yield


@contextmanager
def strange_edge(monitored: Monitored) -> Iterator[None]:
    """An edge whose certificates are of another authority: it knows nobody, and nobody knows it."""
    _start_edge_with(monitored, {**monitored.here.secrets, **certificates(_ANOTHER_AUTHORITY_DAYS)})
    yield
    _start_edge_with(monitored, monitored.here.secrets)


@contextmanager
def locked_database(monitored: Monitored, service: str) -> Iterator[None]:
    """A database that is locked by another for 2 s at a time, again and again, while it is written to."""
    write = monitored.signup if service == "auth" else lambda: record(monitored, [now(call(1))])
    with meanwhile(lambda: lock(monitored, service, 2.0)), meanwhile(write), meanwhile(write):
        yield


@contextmanager
def flooded_ledger(monitored: Monitored) -> Iterator[None]:
    """A database that is locked, and more records than it may hold back, from somebody with an edge's certificate."""
    numbers = count(1)
    with meanwhile(lambda: lock(monitored, "billing", 4.0)), ExitStack() as stack:
        for _ in range(_FLOOD):
            stack.enter_context(meanwhile(lambda: record(monitored, [now(call(next(numbers))) for _ in range(1000)])))
        yield


@contextmanager
def edited_ledger(monitored: Monitored) -> Iterator[None]:
    """Somebody has changed what an hour cost, in the database."""
    spend(monitored)
    edit = "UPDATE usage_rollups SET cost_nanos = cost_nanos {} 1 WHERE rowid = (SELECT min(rowid) FROM usage_rollups)"
    change(monitored, "billing", edit.format("+"))
    yield
    change(monitored, "billing", edit.format("-"))


@contextmanager
def faulty_edge(monitored: Monitored) -> Iterator[None]:
    """Two answered records of one request, from an edge that is wrong."""
    twice = [now(call(7, attempt=attempt)) for attempt in (1, 2)]
    for one in twice:
        one.request_id = twice[0].request_id
    record(monitored, twice)
    yield


@contextmanager
def failing_webhook(monitored: Monitored) -> Iterator[None]:
    """A receiver that answers 503 to every alert of budgets."""
    with receiver(monitored.webhooks) as webhook:
        callers = [spend_beyond_budget(monitored, number) for number in range(4)]
        yield
        webhook.takes = True
        deadline = time.monotonic() + _DELIVERED_WITHIN_S
        while time.monotonic() < deadline and not all(all_delivered(monitored, headers) for headers in callers):
            time.sleep(1)


@contextmanager
def redis_down(monitored: Monitored) -> Iterator[None]:
    """Redis is gone."""
    monitored.redis.stop()
    yield
    monitored.redis.start()


@contextmanager
def crowded_cache(monitored: Monitored) -> Iterator[None]:
    """Ever new answers, of organisations that each may take half; the cache may take 1 MiB here."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(asked(monitored, headers=monitored.signup()[1]))
        yield


@contextmanager
def wrong_similar_answers(monitored: Monitored) -> Iterator[None]:
    """Callers say of answers to similar questions that they were wrong."""
    organization, headers = monitored.signup()
    with monitored.client(headers) as client:
        answer = client.post(f"/governance/policies/{organization}", json={"cache": {"false_hit_bound": 0.02}})
        assert answer.status_code == 200, answer.text
        said = 0
        for marks in range(1, 400):
            answer = client.post("/infer", json={"prompt": "What is a kettle" + "?" * marks})
            if answer.headers.get("x-asahi-cache") == "hit; tier=2":
                body = {"request_id": answer.json()["request_id"], "correct_cache_hit": False}
                client.post("/feedback", json=body).raise_for_status()
                said += 1
            elif said >= 2:  # it serves no more
                break
            time.sleep(0.05)
    yield
    monitored.services["cache"].stop()  # another process has not read that organization's evidence
    monitored.services["cache"].start()


@contextmanager
def broken_store(monitored: Monitored, service: str, table: str) -> Iterator[None]:
    """A database that somebody has taken a table out of, and calls that need it."""
    with monitored.client() as client:
        answered = client.post("/infer", json={"prompt": f"What is {table}?"}).json()["request_id"]
    change(monitored, service, f"ALTER TABLE {table} RENAME TO gone")
    with meanwhile(lambda: need(monitored, service, answered)):
        yield
    change(monitored, service, f"ALTER TABLE gone RENAME TO {table}")


@contextmanager
def garbled_ledger(monitored: Monitored) -> Iterator[None]:
    """Somebody has put text where the ledger has numbers, and a caller looks at the records."""
    spend(monitored)
    garble = "UPDATE usage_records SET latency_ms = {}"
    change(monitored, "billing", garble.format("'x' || latency_ms"))
    with meanwhile(lambda: need(monitored, "billing", "")):
        yield
    change(monitored, "billing", f"{garble.format('substr(latency_ms, 2)')} WHERE latency_ms LIKE 'x%'")


@contextmanager
def certificates_end(monitored: Monitored) -> Iterator[None]:
    """All services have certificates that end in six days, read without a restart."""
    monitored.new_certificates(days=6)
    with asked(monitored):
        yield
        monitored.new_certificates(days=90)
        time.sleep(3)


def _start_edge_with(monitored: Monitored, secrets: Contents) -> None:
    edge = monitored.services["edge"]
    edge.stop()
    edge.refresh_secrets(secrets)
    edge.start()


def _halt(monitored: Monitored, service: str, seconds: float) -> None:
    monitored.services[service].signal(SIGSTOP)
    time.sleep(seconds)
    monitored.services[service].signal(SIGCONT)
    time.sleep(seconds)
