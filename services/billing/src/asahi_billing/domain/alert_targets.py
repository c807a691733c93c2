"""Where alerts may go: https to public addresses, and beside them what the operator lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
_NAT64 = IPv6Network("64:ff9b::/96")
_LONGEST_URL = 2000
_PORTS = {"https": 443, "http": 80}


class RefusedTarget(Exception):
    """An alert must not go there; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points to."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """As the operator lists it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetRules:
    """The operator's list: networks that may be reached beside public ones, and origins that are taken as they are."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    origins: frozenset[str] = frozenset()

    def target(self, url: str) -> Target:
        """Where `url` points to.

        Raises:
            RefusedTarget: it is no https URL, nor one of a listed origin.
        """
        found = _parsed(url)
        if found.scheme != "https" and found.origin not in self.origins:
            raise RefusedTarget("alerts are posted to https addresses only")
        return found

    def permitted(self, target: Target, addresses: Sequence[str]) -> str:
        """The one of the resolved `addresses` to connect to.

        Raises:
            RefusedTarget: one of them is neither public nor listed: a name that leads to both is a trap.
        """
        if not addresses:
            raise RefusedTarget("its name leads to no address")
        if target.origin not in self.origins:
            for text in addresses:
                address = ip_address(text)
                if not is_public(address) and not any(address in network for network in self.networks):
                    raise RefusedTarget("its address is not public; the operator may list it (ASAHI_ALERT_TARGETS)")
        return addresses[0]


def rules_of(listed: str) -> TargetRules:
    """The rules in a list by commas: networks as 10.0.0.0/8, origins as http://alerts.internal:8080.

    Raises:
        ValueError: an entry is neither.
    """
    networks, origins = [], set()
    for entry in filter(None, (one.strip() for one in listed.split(","))):
        if "://" in entry:
            try:
                origins.add(_parsed(entry).origin)
            except RefusedTarget as error:
                raise ValueError(f"{entry[:60]!r} is no origin: {error}") from error
        else:
            networks.append(ip_network(entry))
    return TargetRules(tuple(networks), frozenset(origins))


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet at large, also where it wraps another."""
    return all(one.is_global and not one.is_multicast and not one.is_reserved for one in _wrapped(address))


def _wrapped(address: Address) -> Iterable[Address]:
    """The addresses that packets to `address` may end up at."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    tunnelled = filter(None, (address.sixtofour, *(address.teredo or ())))
    return (address, *tunnelled)


def _parsed(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedTarget("it is no URL") from error
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise RefusedTarget("it is no URL in plain ASCII")
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.password is not None:
        raise RefusedTarget("it is no https URL without a user")
    return Target(url, parts.scheme, parts.hostname, port or _PORTS[parts.scheme])
