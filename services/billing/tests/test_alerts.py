"""Alerts: once per threshold and window, kept over restarts, signed, retried; and the places they never go to."""

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog

from asahi.billing.v1.alerts_pb2 import DESCRIPTOR, AlertState, GetAlertsRequest
from asahi.billing.v1.alerts_pb2_grpc import AlertServiceStub
from asahi.billing.v1.billing_pb2 import RecordUsageRequest, SpendingPlan
from asahi_billing.clients.webhooks import WebhookClient
from asahi_billing.domain.alert_targets import RefusedTarget, is_public, rules_of
from asahi_billing.domain.alerts import SIGNATURE, Alerts, signature
from asahi_billing.stores.alerts import SqlAlerts
from asahi_billing.stores.desk import Desk
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.sql.databases import Database
from services.billing.tests.books import Books, budget, open_books, plan
from services.billing.tests.records import ORGANIZATION, call
from services.billing.tests.running import running
from services.billing.tests.tls import contexts

_SECRET = "whsec_of_the_tests"
ALERTS = DESCRIPTOR.services_by_name["AlertService"]
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A server that takes alerts as the test says."""

    port: int = 0
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What the next posts are answered with; then 200."""
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/alerts"


@asynccontextmanager
async def receiving(
    answer: Answer | None = None, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A real server on loopback."""
    receiver = Receiver()
    handlers: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            receiver.posts.append((headers, body))
            receiver.taken.set()
            if answer is not None:
                await answer(writer)
            else:
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                writer.write(_OK.replace(b"200", str(status).encode()))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            handlers.discard(task)

    server = await asyncio.start_server(handle, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@dataclass
class Rig:
    """A ledger whose budgets raise alerts."""

    books: Books
    desk: Desk

    def alerts(self, listed: str) -> Alerts:
        """As a process has them that starts now."""
        webhook = WebhookClient(rules_of(listed), timeout_s=2.0)
        return Alerts(SqlAlerts(self.desk, lambda: _SECRET), self.books.store, webhook, self.books.clock)

    async def spend(self, number: int, url: str, limit_calls: int = 4) -> None:
        one = budget(limit_nanos=limit_calls * call(1).cost_nanos, blocks=False, alert_at=[0.5, 0.8, 1])
        told: SpendingPlan = plan(one)
        told.webhook_url = url
        await self.books.ledger.record([call(number, seconds=self.books.clock.monotonic())], [told])


@pytest.fixture(params=["sqlite", "postgresql"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    database: Database = request.getfixturevalue("database" if request.param == "sqlite" else "on_postgresql")
    async with open_books(database) as books:
        desk = Desk(database, books.clock, structlog.get_logger(), read_limit_s=60)
        yield Rig(books, desk)
        await desk.close()


async def pump(alerts: Alerts) -> None:
    await alerts.raise_due()
    await alerts.deliver_due()


def thresholds(receiver: Receiver) -> list[float]:
    return [json.loads(body)["threshold"] for _, body in receiver.posts]


async def test_each_threshold_alerts_once_in_a_window_and_anew_in_the_next(rig: Rig) -> None:
    async with receiving() as receiver:
        alerts = rig.alerts(receiver.origin)
        for number, expected in enumerate([[], [0.5], [0.5], [0.5, 0.8, 1], [0.5, 0.8, 1]], 1):
            await rig.spend(number, receiver.url)
            await pump(alerts)
            await pump(alerts)
            assert sorted(thresholds(receiver)) == expected
        assert alerts.posts == {"delivered": 3, "failed": 0, "given_up": 0}
        restarted = rig.alerts(receiver.origin)
        await pump(restarted)
        assert len(receiver.posts) == 3
        rig.books.clock.advance(86_400)
        for number in (11, 12):
            await rig.spend(number, receiver.url)
        await pump(restarted)
        assert sorted(thresholds(receiver)) == [0.5, 0.5, 0.8, 1]


async def test_an_alert_is_signed_with_its_time_and_says_which_budget(rig: Rig) -> None:
    async with receiving() as receiver:
        alerts = rig.alerts(receiver.origin)
        for number in (1, 2):
            await rig.spend(number, receiver.url)
        await pump(alerts)
        ((headers, body),) = receiver.posts
    told = dict(part.split("=") for part in headers[SIGNATURE].split(","))
    expected = hmac.new(_SECRET.encode(), f"{told['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(told["v1"], expected)
    assert int(told["t"]) == int(rig.books.clock.now().timestamp())
    alert = json.loads(body)
    assert (alert["organization_id"], alert["threshold"], alert["spent_usd"]) == (ORGANIZATION, 0.5, "0.0009")
    assert (alert["budget"]["window"], alert["budget"]["limit_usd"]) == ("day", "0.0018")


async def test_what_is_not_taken_is_tried_again_with_growing_pauses_also_after_a_restart(rig: Rig) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500, 302, 404]
        for number in (1, 2):
            await rig.spend(number, receiver.url)
        await pump(rig.alerts(receiver.origin))
        for pause_s in (5, 10, 20):
            alerts = rig.alerts(receiver.origin)
            rig.books.clock.advance(pause_s - 1)
            await pump(alerts)
            before = len(receiver.posts)
            rig.books.clock.advance(1)
            await pump(alerts)
            assert len(receiver.posts) == before + 1
        assert len(receiver.posts) == 4
        assert alerts.posts == {"delivered": 1, "failed": 0, "given_up": 0}
        ids = {json.loads(body)["id"] for _, body in receiver.posts}
        assert len(ids) == 1
        rig.books.clock.advance(86_400)
        await alerts.deliver_due()
        assert len(receiver.posts) == 4


async def test_two_processes_deliver_an_alert_once(rig: Rig) -> None:
    async with receiving() as receiver:
        for number in (1, 2):
            await rig.spend(number, receiver.url)
        one, other = rig.alerts(receiver.origin), rig.alerts(receiver.origin)
        await one.raise_due()
        await other.raise_due()
        await asyncio.gather(one.deliver_due(), other.deliver_due())
        assert len(receiver.posts) == 1


async def test_a_refused_place_gets_nothing_and_is_not_tried_again(rig: Rig) -> None:
    async with receiving() as receiver:
        alerts = rig.alerts("")
        for number in (1, 2):
            await rig.spend(number, f"https://127.0.0.1:{receiver.port}/alerts")
        await pump(alerts)
        rig.books.clock.advance(3600)
        await pump(alerts)
        assert receiver.posts == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::"),
    ],
)
async def test_addresses_that_are_not_public_are_refused_however_they_are_written(address: str) -> None:
    assert not is_public(ip_address(address))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    with pytest.raises(RefusedTarget, match="not public"):
        await WebhookClient(rules_of(""), resolve=resolve).post("https://alerts.example/", b"{}", {})


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("https://127.0.0.1/", "https://[::1]/", "https://2130706433/", "https://0x7f.1/", "https://localhost/"),
        *("https://127.1/", "https://[::ffff:127.0.0.1]/", "http://93.184.215.14/", "ftp://example.com/"),
        *("https://user:secret@example.com/", "https://exa mple.com/", "https:///x", "file:///etc/passwd", ""),
    ],
)
async def test_urls_that_lead_inwards_or_are_not_https_are_refused(url: str) -> None:
    with pytest.raises((RefusedTarget, OSError)):
        await WebhookClient(rules_of("")).post(url, b"{}", {})


async def test_a_name_that_leads_to_a_public_and_an_inner_address_is_refused() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "127.0.0.1"]

    with pytest.raises(RefusedTarget):
        await WebhookClient(rules_of(""), resolve=resolve).post("https://both.example/", b"{}", {})


async def test_a_name_that_leads_elsewhere_the_second_time_is_asked_once_and_its_first_address_is_used(
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    served, trusted = contexts(tmp_path, "rebinding.example")

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with receiving(tls=served) as good, receiving(host="127.0.0.2", port=good.port, tls=served) as bad:
        client = WebhookClient(rules_of("127.0.0.1/32"), resolve=resolve, tls=trusted)
        url = f"https://rebinding.example:{good.port}/"
        assert await client.post(url, b"{}", {}) == 200
        assert (asked, len(good.posts), len(bad.posts)) == (["rebinding.example"], 1, 0)
        with pytest.raises(RefusedTarget):
            await client.post(url, b"{}", {})
        assert len(bad.posts) == 0


async def test_a_certificate_of_another_name_is_not_accepted(tmp_path: Path) -> None:
    served, trusted = contexts(tmp_path, "somebody.else")

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with receiving(tls=served) as receiver:
        client = WebhookClient(rules_of("127.0.0.0/8"), resolve=resolve, tls=trusted)
        with pytest.raises(OSError, match="Certificate"):
            await client.post(f"https://alerts.example:{receiver.port}/", b"{}", {})
        assert receiver.posts == []


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as inner:

        async def redirect(writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 307 Go\r\nlocation: {inner.url}\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()

        async with receiving(redirect) as receiver:
            client = WebhookClient(rules_of(f"{receiver.origin},{inner.origin}"))
            assert await client.post(receiver.url, b"{}", {}) == 307
        assert inner.posts == []


async def test_of_an_answer_of_ten_gigabytes_next_to_nothing_is_read() -> None:
    sent = 0

    async def huge(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with receiving(huge) as receiver:
        began = time.monotonic()
        assert await WebhookClient(rules_of(receiver.origin)).post(receiver.url, b"{}", {}) == 200
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.1)
        assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"])
async def test_an_answer_that_never_ends_or_never_begins_is_given_up_in_time(piece: bytes) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        if piece.startswith(b"x"):
            writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
            if piece.startswith(b"HTTP"):
                await asyncio.sleep(3600)

    async with receiving(endless) as receiver:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"answer|failed"):
            await WebhookClient(rules_of(receiver.origin), timeout_s=0.5).post(receiver.url, b"{}", {})
        assert time.monotonic() - began < 5


async def test_headers_without_end_are_given_up_before_they_fill_the_memory() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"y" * 65_536)
            await writer.drain()

    async with receiving(flood) as receiver:
        with pytest.raises(OSError, match=r"failed|answer"):
            await WebhookClient(rules_of(receiver.origin), timeout_s=2.0).post(receiver.url, b"{}", {})


@pytest.mark.parametrize("listed", ["10.0.0.0/33", "nowhere", "ftp://x", "http://"])
def test_a_list_of_targets_that_cannot_be_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        rules_of(listed)


async def test_the_service_posts_by_itself_what_records_bring_about_and_tells_what_became_of_it(tmp_path: Path) -> None:
    told = plan(budget(limit_nanos=2 * call(1).cost_nanos, blocks=False, alert_at=[0.5]))
    async with receiving() as receiver:
        told.webhook_url = receiver.url
        async with running(tmp_path, ASAHI_ALERT_TARGETS=receiver.origin) as (process, stub):
            now = call(1)
            now.occurred_at.GetCurrentTime()
            await stub.RecordUsage(RecordUsageRequest(records=[now], plans=[told]))
            async with asyncio.timeout(120):
                await receiver.taken.wait()
            async with ServiceChannel("billing", process.served_at, ALERTS, timeout_s=20) as channel:
                while True:
                    answer = await AlertServiceStub(channel).GetAlerts(GetAlertsRequest(organization_id=ORGANIZATION))
                    (alert,) = answer.alerts
                    if alert.state == AlertState.ALERT_STATE_DELIVERED:
                        break
                    await asyncio.sleep(0.05)
        ((headers, body),) = receiver.posts
        at_s = int(headers[SIGNATURE].partition(",")[0].removeprefix("t="))
        assert headers[SIGNATURE] == signature(answer.signing_secret, at_s, body)
