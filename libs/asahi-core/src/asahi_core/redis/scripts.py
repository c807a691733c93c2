"""Calls of Lua scripts in Redis: those that come while others are on their way go together, on one connection."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_MOST_TOGETHER = 200
_MOST_WAITING = 20_000
_LAST_TURNS = 5
"""Of the event loop, before a call counts as late: what came while the loop was busy is no fault of Redis."""
Argument = str | bytes | int


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis knows it."""

    source: str
    sha: str


def script(source: str) -> Script:
    """The script with its name, the SHA-1 of its source (Redis's own, no secret)."""
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    keys: Sequence[Argument]
    args: Sequence[Argument]
    since: float
    """Event-loop time."""
    reply: "asyncio.Future[Any]"


class ScriptCalls:
    """Runs scripts. No reply is waited for longer than `call_s`, whoever is before it.

    A call that fails takes all with it that wait at the time: they raise the same error, the very object.
    """

    def __init__(self, client: Redis, call_s: float) -> None:
        self._client = client
        self._call_s = call_s
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return self._sending is None

    def run(
        self, called: Script, keys: Sequence[Argument], args: Sequence[Argument], *, waited_s: float = 0.0
    ) -> "asyncio.Future[Any]":
        """The script's reply; raises RedisError, OSError, TimeoutError. It need not be waited for.

        `waited_s`: for how long the caller has waited for Redis already, which the call has less.
        """
        loop = asyncio.get_running_loop()
        call = _Call(called, keys, args, loop.time() - waited_s, loop.create_future())
        if len(self._waiting) >= _MOST_WAITING:
            _fail([call], TimeoutError("too many calls wait for Redis"))
            return call.reply
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return call.reply

    async def close(self) -> None:
        """Gives up what waits."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                replies = await self._within(calls[0].since + self._call_s, self._ask(calls))
                for call, reply in zip(calls, replies, strict=True):
                    if isinstance(reply, Exception):
                        _fail([call], reply)
                    elif not call.reply.done():
                        call.reply.set_result(reply)
        except asyncio.CancelledError:
            for call in (*calls, *self._waiting):
                call.reply.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - who waits is told, whatever a driver raises
            _fail([*calls, *self._waiting], error)
            self._waiting = []
        finally:
            self._sending = None

    async def _within(self, until: float, asking: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        """What `asking` brings up to `until` (event-loop time); raises TimeoutError."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(asking)
        try:
            await asyncio.wait((task,), timeout=max(0.0, until - loop.time()))
            for _ in range(0 if task.done() else _LAST_TURNS):
                await asyncio.sleep(0)
            if not task.done():
                raise TimeoutError(f"Redis did not answer within {self._call_s * 1000:g} ms")
            return task.result()
        finally:
            task.cancel()

    async def _ask(self, calls: Sequence[_Call]) -> list[Any]:
        replies = await self._execute(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            for source in {call.script.source for call in calls}:
                await self._client.script_load(source)
            unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            again = await self._execute([calls[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    async def _execute(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
            return list(await pipeline.execute(raise_on_error=False))


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for call in calls:
        if not call.reply.done():
            call.reply.set_exception(error)
            call.reply.exception()  # nobody need wait for it
