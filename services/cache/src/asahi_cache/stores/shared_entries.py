"""Entries in Redis, which all replicas find.

An organisation has a key for each entry and one index, a hash of fingerprint to when the answer was given and the
entry's labels. Only what is in the index counts as kept: whatever Redis evicts, an entry that is found can be
invalidated, by any of its labels. Invalidation walks through the organisation's index, 500 entries a step, so what it
costs grows with what the organisation has; keeping an entry costs nothing more for being found by many labels.
"""

import struct

from redis.exceptions import ResponseError

from asahi_cache.domain.labels import LABEL_BYTES, labels_of
from asahi_cache.domain.rules import check_entry
from asahi_cache.domain.shared import Shared, out_of_reach
from asahi_cache.domain.tiers import NewEntry, Selection, Usage
from asahi_cache.stores.frames import MAX_BYTES, Frames
from asahi_core.errors import InvalidRequest
from asahi_core.redis.breaker import BROKEN, Breaker
from asahi_core.redis.scripts import Argument, Script, ScriptCalls, script

_FIND = script("""
-- KEYS: entry, index. ARGV: fingerprint.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return false end
local value = redis.call('GET', KEYS[1])
if not value then redis.call('HDEL', KEYS[2], ARGV[1]) return false end
return {value, redis.call('PTTL', KEYS[1])}
""")
_KEEP = script("""
-- KEYS: entry, index. ARGV: fingerprint, value, milliseconds to live, moment and labels, beginning of entries' keys.
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
for _, other in ipairs(redis.call('HRANDFIELD', KEYS[2], 2)) do  -- so that what has expired is less than half of it
  if redis.call('EXISTS', ARGV[5] .. other) == 0 then redis.call('HDEL', KEYS[2], other) end
end
return 1
""")
_DROP = script("""
-- KEYS: index. ARGV: cursor, beginning of entries' keys, a moment (8 bytes) or '', bytes of a label; then labels.
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
local size, told = tonumber(ARGV[4]), {found[1]}
local before, before_low = nil, nil
if ARGV[3] ~= '' then before, before_low = struct.unpack('>I4I4', ARGV[3]) end
local function has(meta, label)
  for at = 9, #meta, size do
    if string.sub(meta, at, at + size - 1) == label then return true end
  end
  return false
end
for i = 1, #found[2], 2 do
  local fingerprint, meta, covered = found[2][i], found[2][i + 1], true
  if before then
    local given, low = struct.unpack('>I4I4', meta)
    covered = given < before or (given == before and low < before_low)
  end
  for j = 5, #ARGV do covered = covered and has(meta, ARGV[j]) end
  if covered then
    if redis.call('UNLINK', ARGV[2] .. fingerprint) == 1 then told[#told + 1] = fingerprint end
    redis.call('HDEL', KEYS[1], fingerprint)
  end
end
return told
""")
_USAGE = script("""
-- KEYS: index. ARGV: beginning of entries' keys, how many entries to look at.
-- How many the index has, how many of them were looked at, how many of these there are, and their bytes.
local there, bytes = 0, 0
local some = redis.call('HRANDFIELD', KEYS[1], tonumber(ARGV[2]))
for _, fingerprint in ipairs(some) do
  local size = redis.call('STRLEN', ARGV[1] .. fingerprint)
  if size > 0 then there, bytes = there + 1, bytes + size end
end
return {redis.call('HLEN', KEYS[1]), #some, there, bytes}
""")
_LOOKED_AT = 1000
"""Entries, so that an organisation's usage costs a millisecond whatever it has."""
_MOMENT = struct.Struct(">Q")


class RedisEntries:
    """A `SharedStore`; each call waits as long as its `ScriptCalls` let it."""

    def __init__(self, calls: ScriptCalls, breaker: Breaker) -> None:
        self._calls = calls
        self._breaker = breaker
        self._frames = Frames()
        self.unreadable = 0
        """Values that were found and read as nothing."""

    async def find(self, organization_id: str, fingerprint: bytes) -> Shared | None:
        """The entry of the organisation."""
        keys = (entry_key(organization_id, fingerprint), index_key(organization_id))
        try:
            reply = await self._ask(_FIND, keys, (fingerprint,))
        except BROKEN:
            return None
        if not isinstance(reply, list):
            return None
        value, ttl_ms = reply
        entry = self._frames.read(organization_id, fingerprint, value)
        try:
            if entry is not None and ttl_ms > 0:
                check_entry(entry, MAX_BYTES)
                return Shared(entry, ttl_ms / 1000)
        except InvalidRequest:
            entry = None
        self.unreadable += entry is None
        return None

    async def keep(self, new: NewEntry) -> bool:
        """Keeps the entry for its time, if it is not over a MiB."""
        frame = self._frames.frame(new.organization_id, new.fingerprint, new.entry)
        ttl_ms = int(new.ttl_s * 1000)
        if frame is None or ttl_ms <= 0:
            return False
        keys = (entry_key(new.organization_id, new.fingerprint), index_key(new.organization_id))
        index = _MOMENT.pack(new.entry.created_at.ToNanoseconds()) + b"".join(labels_of(new.entry))
        args = (new.fingerprint, frame, ttl_ms, index, entry_key(new.organization_id, b""))
        try:
            return bool(await self._ask(_KEEP, keys, args))
        except BROKEN:
            return False

    async def drop(self, selection: Selection) -> list[bytes]:
        """Drops what is selected; the fingerprints of what there was.

        Raises:
            ServiceUnavailable: Redis does not answer.
        """
        before = b"" if selection.given_before_nanos is None else _MOMENT.pack(max(0, selection.given_before_nanos))
        dropped: list[bytes] = []
        cursor: bytes | None = b"0"
        labels, entries = tuple(selection.labels), entry_key(selection.organization_id, b"")
        while cursor is not None:
            args: tuple[Argument, ...] = (cursor, entries, before, LABEL_BYTES, *labels)
            try:
                reply = await self._ask(_DROP, (index_key(selection.organization_id),), args)
            except BROKEN as error:
                raise out_of_reach() from error
            if not isinstance(reply, list):
                raise out_of_reach()
            cursor = reply[0] if reply[0] != b"0" else None
            dropped += reply[1:]
        return dropped

    async def usage(self, organization_id: str) -> Usage | None:
        """Entries of the organisation, and their bytes in Redis; None: it does not answer.

        Exact up to a thousand entries, beyond that estimated from a thousand that are drawn at random.
        """
        args = (entry_key(organization_id, b""), _LOOKED_AT)
        try:
            reply = await self._ask(_USAGE, (index_key(organization_id),), args)
        except BROKEN:
            return None
        if not isinstance(reply, list):
            return None
        listed, looked_at, there, size = reply
        share = listed / looked_at if looked_at else 0.0
        return Usage(round(there * share), round(size * share))

    async def _ask(self, called: Script, keys: tuple[Argument, ...], args: tuple[Argument, ...]) -> object:
        """The reply; None: Redis answers and refuses (no memory left, another type of value at the key)."""
        if not self._breaker.reachable:
            raise ConnectionError("the breaker is open")
        return await self._breaker.ask(self._reply(called, keys, args))

    async def _reply(self, called: Script, keys: tuple[Argument, ...], args: tuple[Argument, ...]) -> object:
        try:
            return await self._calls.run(called, keys, args)
        except ResponseError:
            return None


def entry_key(organization_id: str, fingerprint: bytes) -> bytes:
    """Where an entry lies; keys of one organisation are in one slot of a cluster."""
    return f"asahi:cache:{{{organization_id}}}:e:".encode() + fingerprint


def index_key(organization_id: str) -> str:
    """Where the organisation's index lies."""
    return f"asahi:cache:{{{organization_id}}}:i"
