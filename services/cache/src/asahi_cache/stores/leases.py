"""Leases of flights in Redis: one key a flight, with the flight's id and where it is followed."""

from collections.abc import Mapping
from itertools import islice

from asahi_cache.domain.shared_flights import LEASE_S, Lease, Wanted
from asahi_cache.stores.shared_entries import entry_key, index_key
from asahi_core.redis.breaker import BROKEN, Breaker
from asahi_core.redis.scripts import Argument, ScriptCalls, script

_LONGEST_BEFORE_S = 0.04
"""What a call has waited before; more would leave it no time at all."""
_AT_ONCE = 500
_TAKE = script("""
-- KEYS: lease, entry, index. ARGV: own flight, its address, milliseconds, a flight that is lost, fingerprint or ''.
local led = redis.call('GET', KEYS[1])
if led and string.match(led, '^%S*') ~= ARGV[4] then return led end
if not led and ARGV[5] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[5]) == 1
  and redis.call('EXISTS', KEYS[2]) == 1 then return '' end
local own = ARGV[1] .. ' ' .. ARGV[2]
redis.call('SET', KEYS[1], own, 'PX', ARGV[3])
return own
""")
_RENEW = script("""
-- KEYS: lease. ARGV: flight and address, milliseconds.
local led = redis.call('GET', KEYS[1])
if not led or led == ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
""")
_RELEASE = script("""
-- KEYS: lease. ARGV: flight and address.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
""")


class RedisLeases:
    """Keeps the promise of `Leases`. After a failure nobody waits here until Redis has answered something else."""

    def __init__(self, calls: ScriptCalls, breaker: Breaker) -> None:
        self._calls = calls
        self._breaker = breaker

    async def take(self, wanted: Wanted, own: Lease) -> Lease | None:
        """Whose flight it is; None: Redis does not answer."""
        if not self._breaker.reachable or self._breaker.failures:
            return None
        organization_id = wanted.organization_id
        keys = (
            _lease_key(organization_id, wanted.key),
            entry_key(organization_id, wanted.fingerprint),
            index_key(organization_id),
        )
        fingerprint = wanted.fingerprint if wanted.stored_will_do else b""
        args: tuple[Argument, ...] = (own.flight_id, own.address, _MS, wanted.lost_flight_id, fingerprint)
        try:
            taking = self._calls.run(_TAKE, keys, args, waited_s=min(wanted.waited_s, _LONGEST_BEFORE_S))
            taken: bytes = await self._breaker.ask(taking)
        except BROKEN:
            return None
        flight_id, _, address = taken.decode(errors="replace").partition(" ")
        return Lease(flight_id, address)

    async def renew(self, leases: Mapping[tuple[str, bytes], Lease]) -> None:
        """Prolongs leases, or takes them again if they are lost; what is not prolonged ends by itself."""
        waiting = iter(leases.items())
        while self._breaker.reachable and (some := list(islice(waiting, _AT_ONCE))):
            calls = [self._calls.run(_RENEW, (_lease_key(*place),), (_told(lease), _MS)) for place, lease in some]
            try:
                for call in calls:
                    await self._breaker.ask(call)
            except BROKEN:
                return

    def release(self, organization_id: str, key: bytes, lease: Lease) -> None:
        """Ends a lease if it is still this one; nobody waits for it."""
        if self._breaker.reachable:
            self._calls.run(_RELEASE, (_lease_key(organization_id, key),), (_told(lease),))


_MS = int(LEASE_S * 1000)


def _told(lease: Lease) -> str:
    return f"{lease.flight_id} {lease.address}"


def _lease_key(organization_id: str, key: bytes) -> bytes:
    return f"asahi:cache:{{{organization_id}}}:f:".encode() + key
