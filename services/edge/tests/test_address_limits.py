"""Which address a request came from, and how much one address may try."""

from ipaddress import ip_network

import pytest

from asahi_core.clock import ManualClock
from asahi_core.errors import RateLimitExceeded
from asahi_edge.domain.address_limits import AddressLimit, address_block, client_address, peer_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("fd00::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("", "198.51.100.1", ""),
    ],
)
def test_forwarded_for_counts_as_far_as_trusted_proxies_wrote_it(peer: str, forwarded_for: str, expected: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == expected


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert client_address("10.0.0.1", "198.51.100.1", ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [("ipv4:127.0.0.1:5000", "127.0.0.1"), ("ipv6:%5B::1%5D:5000", "::1"), ("ipv6:[::1]:5000", "::1"), ("unix:", "")],
)
def test_grpc_peers_have_addresses_too(peer: str, expected: str) -> None:
    assert peer_address(peer) == expected


def test_addresses_of_ipv6_are_limited_by_their_64() -> None:
    assert address_block("2001:db8:0:1::7") == address_block("2001:db8:0:1:ffff::") == "2001:db8:0:1::/64"
    assert address_block("2001:db8:0:2::7") != address_block("2001:db8:0:1::7")
    assert address_block("198.51.100.1") == "198.51.100.1"


def test_an_address_may_try_so_often_a_minute() -> None:
    clock = ManualClock()
    limit = AddressLimit("signups", 2, clock)
    limit.take("198.51.100.1")
    clock.advance(20)
    limit.take("198.51.100.1")
    with pytest.raises(RateLimitExceeded, match="signups") as refused:
        limit.take("198.51.100.1")
    assert refused.value.retry_after_s == 40
    limit.take("198.51.100.2")
    clock.advance(40)
    limit.take("198.51.100.1")


def test_what_is_given_back_does_not_count() -> None:
    limit = AddressLimit("unknown keys", 1, ManualClock())
    for _ in range(5):
        limit.take("198.51.100.1")
        limit.give_back("198.51.100.1")
    limit.take("198.51.100.1")


def test_counts_are_kept_of_so_many_addresses() -> None:
    limit = AddressLimit("signups", 1, ManualClock(), capacity=2)
    for number in range(4):
        limit.take(f"198.51.100.{number}")
    limit.take("198.51.100.0")
    with pytest.raises(RateLimitExceeded):
        limit.take("198.51.100.3")
