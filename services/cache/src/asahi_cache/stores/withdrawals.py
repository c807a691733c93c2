"""What replicas tell each other through Redis: a stream of withdrawals, which each of them reads ten times a second.

The answer to such a reading is the proof of hearing: all that was withdrawn before it is known then. Pub/sub is
cheaper, but a connection that was silently made anew may have missed something; a place in a stream cannot. Who
withdraws waits until every replica that was there within a second has read that far.

What is in memory is forgotten where a replica did not hear for a while. What it keeps on disk is not: it goes on
reading where it had come to, and where the stream does not reach back so far drops everything.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from asahi_cache.domain.shared import Withdrawal, out_of_reach
from asahi_cache.domain.tiers import Selection
from asahi_cache.stores.heard_place import HeardPlace, Place
from asahi_core.clock import Clock
from asahi_core.redis.breaker import BROKEN, Breaker
from asahi_core.redis.scripts import Argument, Script, ScriptCalls, script

HEARD_FOR_S = 0.75
"""How long a reading is trusted: with the time that edges take to be told, less than a second."""
_READ_EVERY_S = 0.1
_GONE_AFTER_S = 1.0
_ASK_EVERY_S = 0.02
_STREAM, _REPLICAS, _EPOCH = (f"{{asahi:cache}}:{name}" for name in ("withdrawn", "replicas", "epoch"))
_READ = script("""
-- KEYS: stream, replicas, epoch. ARGV: replica, the id that it has read up to ('': it begins), the id that it has
-- dropped up to ('': all that there is), a name for the epoch if there is none,
-- a withdrawal of nothing, so that there is a place to come back to.
-- Answers with the epoch, the id read up to before, what came after it, and whether nothing in between is lost.
local epoch = redis.call('GET', KEYS[3])
if not epoch then epoch = ARGV[4] redis.call('SET', KEYS[3], epoch) end
local time, last, dropped, found, whole = redis.call('TIME'), ARGV[2], ARGV[3], {}, 1
if last == '' then
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  last = newest[1] and newest[1][1] or redis.call('XADD', KEYS[1], '*', 'from', '', 'what', ARGV[5])
else
  found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 500)
  whole = #redis.call('XRANGE', KEYS[1], last, last)
end
if dropped == '' then dropped = last end
redis.call('HSET', KEYS[2], ARGV[1], time[1] .. '.' .. string.format('%06d', time[2]) .. ' ' .. dropped)
return {epoch, last, found, whole}
""")
_TELL = script("""
-- KEYS: stream. ARGV: replica, what is withdrawn.
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'from', ARGV[1], 'what', ARGV[2])
""")
_UNHEARD = script("""
-- KEYS: stream, replicas. ARGV: id of a withdrawal, who withdrew, seconds after which a replica is gone.
-- How many replicas have not dropped it; -1: Redis has lost it.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return -1 end
local function place(id)
  local ms, number = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(number)
end
local time = redis.call('TIME')
local now, ms, number, unheard = time[1] + time[2] / 1e6, 0, 0, 0
ms, number = place(ARGV[1])
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  local at, last = string.match(flat[i + 1], '(%S+) (%S+)')
  if now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], flat[i])
  elseif flat[i] ~= ARGV[2] then
    local their_ms, their_number = place(last)
    if their_ms < ms or (their_ms == ms and their_number < number) then unheard = unheard + 1 end
  end
end
return unheard
""")


class _Message(msgspec.Struct, frozen=True, array_like=True):
    organization_id: str
    labels: list[bytes]
    given_before_nanos: int | None
    fingerprints: list[bytes]


_NOTHING = msgspec.msgpack.encode(_Message("", [], None, []))
_FROM_THE_FIRST = b"0-0"


class RedisWithdrawals:
    """Keeps the promise of `Withdrawals`; `run` must be running."""

    def __init__(
        self, calls: ScriptCalls, breaker: Breaker, clock: Clock, log: FilteringBoundLogger, replica: str
    ) -> None:
        """`replica` is unique to this process."""
        self._calls = calls
        self._breaker = breaker
        self._clock = clock
        self._log = log
        self._replica = replica
        self._read_at = float("-inf")
        self._epoch = b""
        self._read_up_to = self._dropped_up_to = b""
        self._untold: deque[tuple[bytes, Withdrawal | None]] = deque()
        """What is still to be dropped here; None: everything, for nobody knows what was withdrawn."""
        self._more = asyncio.Event()
        self._kept: HeardPlace | None = None
        self._place_is_kept = True
        self.on_withdrawn: Callable[[Withdrawal], Awaitable[bool]] = _ignored
        """Awaited with each withdrawal of another replica, one after the other; whether all of it is dropped here."""
        self.on_unknown: Callable[[], Awaitable[bool]] = _nothing_kept
        """Awaited where anything may have been withdrawn; whether all that outlives the process is dropped here."""
        self.on_turn: Callable[[], None] = lambda: None
        """Called after each reading, whether it was answered or not, and before one that begins anew."""

    def go_on_from(self, kept: HeardPlace) -> None:
        """Has this replica, which keeps something over restarts, begin where it had come to; called before `run`."""
        self._kept = kept
        if kept.place is not None:
            self._epoch = kept.place.epoch

    @property
    def heard(self) -> bool:
        """Whether all that was withdrawn up to a second ago is known here."""
        return self._clock.monotonic() - self._read_at < HEARD_FOR_S

    async def tell(self, withdrawal: Withdrawal) -> None:
        """Returns when every replica has dropped it, or has not read for a second.

        Raises:
            ServiceUnavailable: Redis does not answer, or has lost it.
        """
        selection = withdrawal.selection
        message = _Message(
            selection.organization_id,
            list(selection.labels),
            selection.given_before_nanos,
            list(withdrawal.fingerprints),
        )
        try:
            told = await self._ask(_TELL, (_STREAM,), (self._replica, msgspec.msgpack.encode(message)))
            until = self._clock.monotonic() + 2 * _GONE_AFTER_S
            unheard = 1
            while unheard and self._clock.monotonic() < until:
                unheard = await self._ask(_UNHEARD, (_STREAM, _REPLICAS), (told, self._replica, str(_GONE_AFTER_S)))
                if unheard < 0:
                    raise out_of_reach()
                await asyncio.sleep(_ASK_EVERY_S if unheard else 0)
        except BROKEN as error:
            raise out_of_reach() from error
        if unheard:
            raise out_of_reach()

    async def run(self) -> None:
        """Reads what others withdraw, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass_on())
            while True:
                if self._breaker.reachable:
                    try:
                        await self._read()
                    except BROKEN as error:
                        self._log.debug("withdrawals_unread", error=type(error).__name__)
                self.on_turn()
                await asyncio.sleep(_READ_EVERY_S)

    async def _read(self) -> None:
        asked_at = self._clock.monotonic()
        if not self.heard:
            self._begin_anew()
        begins = not self._read_up_to
        args = (self._replica, self._read_up_to, self._dropped_up_to, f"{self._replica}-{asked_at}", _NOTHING)
        epoch, last, found, whole = await self._ask(_READ, (_STREAM, _REPLICAS, _EPOCH), args)
        if (self._epoch and epoch != self._epoch) or not whole:
            self._log.warning("withdrawals_lost")  # another Redis, or one that has lost what it had
            self._read_at = float("-inf")
            if self._kept is not None:
                self._kept.place = None
            self._epoch = epoch
            self._begin_anew()
            return
        self._epoch = epoch
        if begins and self._kept is not None:
            self._untold.append((last, None))
        for number, fields in found:
            last = number
            _, sender, _, what = fields
            if sender not in {b"", self._replica.encode()}:
                self._untold.append((number, _withdrawal(what)))
        self._read_up_to, self._read_at = last, asked_at
        if self._untold:
            self._more.set()
        else:
            self._note_dropped(last)

    def _begin_anew(self) -> None:
        """What was in memory is forgotten, so that only what comes from the next reading on counts."""
        place = None if self._kept is None else self._kept.place
        self._read_up_to = b"" if place is None else place.number
        self._dropped_up_to = _FROM_THE_FIRST if self._kept is not None and place is None else self._read_up_to
        self._untold.clear()
        self.on_turn()

    async def _pass_on(self) -> None:
        while True:
            self._more.clear()
            while self._untold:
                number, withdrawal = self._untold[0]
                dropped = await (self.on_unknown() if withdrawal is None else self.on_withdrawn(withdrawal))
                if not dropped and self._kept is not None:
                    self._kept.stay()
                if self._untold and self._untold[0][0] == number:
                    self._untold.popleft()
                    self._note_dropped(number)
            await self._more.wait()

    def _note_dropped(self, number: bytes) -> None:
        self._dropped_up_to = number
        if self._kept is None:
            return
        try:
            self._kept.note(Place(self._epoch, number))
            self._place_is_kept = True
        except OSError as error:  # after a restart the same is dropped once more
            if self._place_is_kept:
                self._log.warning("heard_place_not_kept", error=str(error))
            self._place_is_kept = False

    async def _ask(self, called: Script, keys: tuple[Argument, ...], args: tuple[Argument, ...]) -> Any:
        return await self._breaker.ask(self._calls.run(called, keys, args))


def _withdrawal(what: bytes) -> Withdrawal:
    message = msgspec.msgpack.decode(what, type=_Message)
    selection = Selection(message.organization_id, frozenset(message.labels), message.given_before_nanos)
    return Withdrawal(selection, tuple(message.fingerprints))


async def _ignored(_withdrawal: Withdrawal) -> bool:
    return True


async def _nothing_kept() -> bool:
    return True
