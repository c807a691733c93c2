"""Callers' addresses: which one a request came from, and limits by address for who has no valid key yet."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from asahi_core.clock import Clock
from asahi_core.errors import RateLimitExceeded

Network = IPv4Network | IPv6Network
_V6_BLOCK = 64
_WINDOW_S = 60.0
_ADDRESSES_KNOWN = 4096
"""Addresses whose reading is remembered: it takes a thirtieth of a hit."""


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address that a request came from; empty: unknown.

    `forwarded_for` (X-Forwarded-For, client first) counts as far as trusted proxies have written it: the rightmost
    address that is not theirs. What cannot be read ends the search at the last proxy.
    """
    current = _normal(peer)
    if not trusted or not _is_trusted(current, trusted):
        return current
    for said in reversed(forwarded_for.split(",")):
        hop = _normal(said)
        if not hop:
            break
        current = hop
        if not _is_trusted(current, trusted):
            break
    return current


def peer_address(peer: str) -> str:
    """The address in grpc's name of a peer, `ipv4:127.0.0.1:5000` or `ipv6:[::1]:5000`; empty: unknown."""
    return _normal(peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]"))


def address_block(address: str) -> str:
    """What is limited together: an IPv4 address, or the /64 that one customer of IPv6 has."""
    if ":" not in address:
        return address
    block = IPv6Network((int(IPv6Address(address)), _V6_BLOCK), strict=False)
    return f"{block.network_address}/{_V6_BLOCK}"


@lru_cache(_ADDRESSES_KNOWN)
def _normal(said: str) -> str:
    text = said.strip().removeprefix("[")
    text = text.partition("]")[0] if "]" in text else text
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not address:
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in trusted)


class AddressLimit:
    """So many a minute from one address (IPv6: one /64). Counts of at most `capacity` addresses are kept."""

    def __init__(self, what: str, per_minute: int, clock: Clock, *, capacity: int = 10_000) -> None:
        """`what` says in an error what there are too many of."""
        self._what = what
        self._per_minute = per_minute
        self._clock = clock
        self._capacity = capacity
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Counts one; raises RateLimitExceeded if there were too many."""
        block, now = address_block(address), self._clock.monotonic()
        times = self._times.setdefault(block, [])
        self._times.move_to_end(block)
        if times and times[0] <= now - _WINDOW_S:
            times[:] = [at for at in times if at > now - _WINDOW_S]
        if len(times) >= self._per_minute:
            retry_after_s = times[0] + _WINDOW_S - now
            message = (
                f"Too many {self._what} from your address: {self._per_minute} a minute are taken. "
                f"Try again in {retry_after_s:.0f} s."
            )
            raise RateLimitExceeded(message, retry_after_s=retry_after_s)
        times.append(now)
        if len(self._times) > self._capacity:
            self._times.popitem(last=False)

    def give_back(self, address: str) -> None:
        """Takes back the last one that was counted."""
        times = self._times.get(address_block(address))
        if times:
            times.pop()
