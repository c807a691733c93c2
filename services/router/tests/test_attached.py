"""A caller's standing connection: many completions on one stream, each as a call of its own would go."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from asahi.router.v1 import router_pb2 as pb
from asahi_core.context import CallContext, current_call
from asahi_core.errors import Cancelled, InvalidRequest, ProviderError
from asahi_core.rpc.status import error_from_bytes
from asahi_router.api.attached import Attachment
from asahi_router.domain.orphans import DrainLimits
from asahi_router.domain.provider import FailureKind, ProviderFailure
from services.router.tests.completion_rig import GUARD_S, MODELS, Rig, ScriptedProvider, Turn, start
from services.router.tests.decision_rig import EXPLICIT, task
from services.router.tests.running import running
from simulator.tests.running import RunningSimulator

NEVER = 3600.0
_BIG = 40 * 1024


@contextmanager
def _handled(call: CallContext) -> Iterator[None]:
    current_call.set(call)
    yield


class _Caller:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.left = False
        """Whether it was told that the service is leaving."""
        self.said: dict[int, list[pb.AttachedResponse]] = {}
        self.frames = 0
        self._heard = asyncio.Condition()
        self._requests: asyncio.Queue[pb.AttachRequest | None] = asyncio.Queue()

    def begin(
        self, call_id: int, opening: pb.CompleteStart, time_ms: float | None = None, *, says_read: bool = False
    ) -> None:
        begin = pb.AttachedStart(start=opening, time_ms=time_ms, says_read=says_read)
        self.ask(pb.AttachedRequest(call_id=call_id, begin=begin))

    def ask(self, *requests: pb.AttachedRequest) -> None:
        self._requests.put_nowait(pb.AttachRequest(requests=requests))

    def has_read(self, *call_ids: int) -> None:
        self._requests.put_nowait(pb.AttachRequest(read_call_ids=call_ids))

    def end(self) -> None:
        self._requests.put_nowait(None)

    async def requests(self) -> AsyncIterator[pb.AttachRequest]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def read(self, responses: AsyncIterator[pb.AttachResponse]) -> None:
        async for frame in responses:
            self.frames += 1
            self.left = self.left or frame.leaving
            for response in frame.responses:
                self.said.setdefault(response.call_id, []).append(response)
            async with self._heard:
                self._heard.notify_all()

    def kinds(self, call_id: int) -> list[str]:
        responses = self.said.get(call_id, [])
        return [r.event.WhichOneof("event") or "" if r.HasField("event") else "failed" for r in responses]

    def error(self, call_id: int) -> Exception:
        return error_from_bytes(self.said[call_id][-1].failed_status)

    async def until(self, call_id: int, kind: str, times: int = 1) -> None:
        await self.hears(lambda: self.kinds(call_id).count(kind) >= times)

    async def hears(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S), self._heard:
            await self._heard.wait_for(what)


@asynccontextmanager
async def _connected(rig: Rig) -> AsyncGenerator[tuple[_Caller, "asyncio.Task[None]"], None]:
    caller = _Caller()
    responses = Attachment(rig.completions, _handled).responses(caller.requests(), caller.stop)
    reading = asyncio.create_task(caller.read(responses))
    try:
        yield caller, reading
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, InvalidRequest):
            await reading


def _provider(*turns: Turn) -> ScriptedProvider:
    return ScriptedProvider("openai", {model: list(turns) for model in MODELS})


async def test_completions_run_side_by_side_and_what_is_there_together_travels_together() -> None:
    hold = asyncio.Event()
    async with _connected(Rig(_provider(Turn(hold=hold), Turn()))) as (caller, _):
        caller.begin(1, start(stream=True, request_id="r-1"))
        await caller.until(1, "delta")
        caller.begin(2, start(stream=True, request_id="r-2"))
        await caller.until(2, "completed")
        assert "completed" not in caller.kinds(1)
        hold.set()
        await caller.until(1, "completed")
    assert caller.kinds(2) == ["decision", "attempt", "delta", "delta", "delta", "delta", "completed"]
    assert caller.frames < len(caller.said[1]) + len(caller.said[2])


async def test_a_completion_that_fails_says_how_and_leaves_the_others_alone() -> None:
    provider = _provider(Turn(failure=ProviderError("no")), Turn())
    async with _connected(Rig(provider, models=MODELS[:1])) as (caller, _):
        caller.begin(1, start())
        await caller.until(1, "failed")
        assert isinstance(caller.error(1), ProviderError)
        caller.begin(2, start())
        await caller.until(2, "completed")


async def test_what_is_given_up_ends_with_the_outcome_of_its_call() -> None:
    provider = _provider(Turn(wait_s=NEVER))
    async with _connected(Rig(provider)) as (caller, _):
        caller.begin(1, start(stream=True))
        await caller.until(1, "delta")
        caller.ask(pb.AttachedRequest(call_id=1, cancel=pb.Cancel()))
        await caller.until(1, "failed")
    assert caller.kinds(1)[-2:] == ["attempt_failed", "failed"]
    assert isinstance(caller.error(1), Cancelled)


async def test_attempts_wait_for_their_go_ahead() -> None:
    provider = _provider(Turn())
    async with _connected(Rig(provider)) as (caller, _):
        caller.begin(1, start(confirm=True))
        await caller.until(1, "attempt")
        assert provider.calls == []
        caller.ask(pb.AttachedRequest(call_id=1, go_ahead=pb.GoAhead(attempt=1)))
        await caller.until(1, "completed")


async def test_a_completion_ends_a_little_before_its_callers_time() -> None:
    async with _connected(Rig(_provider(Turn(wait_s=NEVER)), models=MODELS[:1])) as (caller, _):
        caller.begin(1, start(), time_ms=50)
        await caller.until(1, "failed")
    assert caller.kinds(1)[-2] == "attempt_failed"


@pytest.mark.parametrize("how", ["abandoned", "cut"])
async def test_what_nobody_listens_to_any_more_is_settled_as_an_orphan(how: str) -> None:
    hold = asyncio.Event()
    provider = _provider(Turn(hold=hold))
    rig = Rig(provider)
    async with _connected(rig) as (caller, reading):
        caller.begin(1, start(stream=True))
        await caller.until(1, "delta")
        if how == "abandoned":
            caller.ask(pb.AttachedRequest(call_id=1, abandon=pb.Abandon()))
            caller.begin(2, start(request_id="r-2"))
            await asyncio.sleep(0)
        else:
            reading.cancel()
            await asyncio.wait({reading})
        hold.set()
        await rig.orphanage.close(GUARD_S)
        if how == "abandoned":
            await caller.until(2, "completed")
    assert [(record.request_id, record.usage.output_tokens) for record in rig.orphans.records] == [("request-1", 4)]


async def test_what_a_caller_does_not_say_it_has_read_is_settled_when_it_is_gone() -> None:
    failing = Turn(failure=ProviderFailure(FailureKind.UNREACHABLE, "no"))
    rig = Rig(_provider(Turn(), Turn(), Turn(), failing))
    async with _connected(rig) as (caller, reading):
        for call_id in (1, 2, 3):
            caller.begin(call_id, start(request_id=f"r-{call_id}"), says_read=call_id != 3)
            await caller.until(call_id, "completed")
        caller.has_read(1)
        caller.begin(4, start(request_id="r-4"), says_read=True)
        await caller.until(4, "attempt_failed")
        await caller.hears(lambda: caller.kinds(4)[-1] in ("completed", "failed"))
        assert rig.orphans.records == []
        reading.cancel()
        await asyncio.wait({reading})
    await rig.orphanage.close(0)
    settled = sorted((record.request_id, record.attempt) for record in rig.orphans.records)
    assert settled == [("r-2", 1), *(("r-4", n + 1) for n in range(caller.kinds(4).count("attempt")))]
    assert next(one for one in rig.orphans.records if one.request_id == "r-2").usage.output_tokens == 4


async def test_an_end_that_its_caller_does_not_want_to_read_is_settled_while_it_is_there() -> None:
    rig = Rig(_provider(Turn(), Turn()), drain=DrainLimits(unread_s=0.01))
    async with _connected(rig) as (caller, _):
        caller.begin(1, start(), says_read=True)
        await caller.until(1, "completed")
        caller.ask(pb.AttachedRequest(call_id=1, abandon=pb.Abandon()))
        caller.begin(2, start(request_id="r-2"))
        await caller.until(2, "completed")
        await rig.orphanage.close(GUARD_S)
    assert [(record.request_id, record.orphan) for record in rig.orphans.records] == [("request-1", True)]


async def test_what_is_abandoned_at_once_is_never_asked() -> None:
    provider = _provider(Turn())
    async with _connected(Rig(provider)) as (caller, reading):
        begin = pb.AttachedRequest(call_id=1, begin=pb.AttachedStart(start=start()))
        caller.ask(begin, pb.AttachedRequest(call_id=1, abandon=pb.Abandon()))
        caller.end()
        async with asyncio.timeout(GUARD_S):
            await reading
    assert provider.calls == []


async def test_a_caller_that_takes_nothing_is_sent_no_more_than_its_window_and_others_go_on() -> None:
    provider = _provider(Turn(pieces=["x" * _BIG] * 20), Turn())
    async with _connected(Rig(provider)) as (caller, _):
        caller.begin(1, start(stream=True))
        await caller.until(1, "delta")
        caller.begin(2, start(stream=True, request_id="r-2"))
        await caller.until(2, "completed")
        sent = sum(response.event.ByteSize() for response in caller.said[1])
        assert 256 * 1024 <= sent < 256 * 1024 + 2 * _BIG
        for deltas in (10, 14, 18, 20):
            caller.ask(pb.AttachedRequest(call_id=1, taken_bytes=4 * _BIG))
            await caller.until(1, "delta", times=deltas)
        await caller.until(1, "completed")
    assert caller.kinds(1).count("delta") == 20


async def test_the_connection_ends_once_the_caller_has_ended_its_side_and_all_is_answered() -> None:
    hold = asyncio.Event()
    async with _connected(Rig(_provider(Turn(hold=hold)))) as (caller, reading):
        caller.begin(1, start(stream=True))
        await caller.until(1, "delta")
        caller.stop.set()
        await caller.hears(lambda: caller.left)
        caller.end()
        await asyncio.sleep(0.01)
        assert not reading.done()
        hold.set()
        async with asyncio.timeout(GUARD_S):
            await reading
    assert caller.kinds(1)[-1] == "completed"


async def test_numbers_that_do_not_rise_are_refused() -> None:
    async with _connected(Rig(_provider(Turn()))) as (caller, reading):
        caller.begin(2, start())
        caller.begin(2, start())
        with pytest.raises(InvalidRequest, match="numbers must rise"):
            async with asyncio.timeout(GUARD_S):
                await reading


async def test_it_goes_over_real_grpc(tmp_path: Path, simulator: RunningSimulator) -> None:
    caller = _Caller()
    async with running(tmp_path, simulator_url=simulator.url) as router:
        responses = cast("AsyncIterator[pb.AttachResponse]", router.Attach(caller.requests()))
        reading = asyncio.create_task(caller.read(responses))
        for number in range(1, 9):
            asked = task(mode=EXPLICIT, model="gpt-6-luna")
            caller.begin(number, pb.CompleteStart(task=asked, stream=number % 2 == 0))
        for number in range(1, 9):
            await caller.until(number, "completed")
        caller.end()
        async with asyncio.timeout(GUARD_S):
            await reading
    assert len(simulator.calls()) == 8
