"""The cluster's network: a namespace without a way out, names of Services, and their addresses.

Names and addresses lead to ready pods alone. What no pod answers fails at once, and never leaves the machine.
"""

import asyncio
import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from tests.k8s.cluster import podman

DOMAIN = "svc.cluster.local"
OUTSIDE = "10.201.0.1"
"""Where stores and the provider are: an address that no pod has."""
_DNS = "10.201.0.53"
_SERVICES = "10.203.0.0/16"
_PODS = "10.202.0.0/16"
_TTL_S = 5
_PROGRAMS = ("podman", "nft", "ip", "nsenter")
_INSIDE = "ASAHI_CLUSTER_NAMESPACE"


def run_inside(main: Callable[[], int]) -> int:
    """What `main` returns, run in a process like this one in a network namespace of its own. It has to be root."""
    if os.environ.get(_INSIDE):
        return main()
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"containers need root and {', '.join(_PROGRAMS)}; missing: {', '.join(missing) or 'root'}")
    name = f"asahi-{os.getpid()}"
    _run("ip", "netns", "add", name)
    try:
        # nsenter, not `ip netns exec`, which hides the cgroups that limits need.
        command = ("nsenter", f"--net=/run/netns/{name}", sys.executable, *sys.orig_argv[1:])
        # Processes are started beside grpc's threads: its handlers of forks end them.
        environment = {**os.environ, _INSIDE: name, "GRPC_ENABLE_FORK_SUPPORT": "0"}
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        _run("ip", "netns", "delete", name)


@contextmanager
def pod_network(name: str) -> Iterator["Addresses"]:
    """Podman's network `name` in this namespace, and addresses for it."""
    _run("ip", "link", "set", "lo", "up")
    for address in (OUTSIDE, _DNS):
        _run("ip", "address", "add", f"{address}/32", "dev", "lo")
    _run("ip", "route", "add", _SERVICES, "dev", "lo", "src", OUTSIDE)
    subprocess.run(
        ("podman", "network", "create", "--disable-dns", "--subnet", _PODS, name),
        check=True, capture_output=True, env=podman.environment(),
    )  # fmt: skip
    try:
        yield Addresses()
    finally:
        subprocess.run(
            ("podman", "network", "rm", "--force", name), check=False, capture_output=True, env=podman.environment()
        )


class Addresses:
    """Addresses that nobody has yet: of pods, with the MAC that belongs to each, and of Services."""

    def __init__(self) -> None:
        self._pods = ipaddress.ip_network(_PODS).hosts()
        next(self._pods)  # the bridge
        self._services = ipaddress.ip_network(_SERVICES).hosts()

    def of_pod(self) -> tuple[str, str]:
        """An IP and a MAC. Fixed, else a container that starts anew is not found for half a minute."""
        ip = next(self._pods)
        return str(ip), "02:00:" + ":".join(f"{byte:02x}" for byte in int(ip).to_bytes(4, "big"))

    def of_service(self) -> str:
        """An IP."""
        return str(next(self._services))


class Names(asyncio.DatagramProtocol):
    """A DNS server that knows Services. `hosts` is replaced as a whole."""

    def __init__(self) -> None:
        self.hosts: Mapping[str, list[str]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Answers from now on."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(_DNS, 53))

    def stop(self) -> None:
        """Answers no more."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answers a question."""
        assert self._transport is not None
        question = DNSRecord.parse(data)
        name = str(question.q.qname).rstrip(".").lower()
        answer = question.reply()
        if name not in self.hosts:
            answer.header.rcode = RCODE.NXDOMAIN
        elif question.q.qtype == QTYPE.A:
            for address in self.hosts[name]:
                answer.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=_TTL_S))
        self._transport.sendto(answer.pack(), addr)

    def arguments(self, namespace: str) -> tuple[str, ...]:
        """What podman has to be told so that a container asks here, as kubelet tells it."""
        search = (f"{namespace}.{DOMAIN}", DOMAIN, "cluster.local")
        return ("--no-hosts", f"--dns={_DNS}", "--dns-option=ndots:5", *(f"--dns-search={domain}" for domain in search))


Ports = Mapping[tuple[str, int], list[tuple[str, int]]]
"""Of each Service's address and port, those of the ready pods."""


async def lead(ports: Ports) -> None:
    """Leads Services' addresses to pods, at random for each connection, as kube-proxy does; in one step."""
    rules = "\n".join(
        f"ip daddr {address} tcp dport {port} dnat to numgen random mod {len(pods)} map "
        f"{{ {', '.join(f'{number} : {ip} . {at}' for number, (ip, at) in enumerate(pods))} }}"
        for (address, port), pods in ports.items()
        if pods
    )
    table = f"""
        table ip asahi
        delete table ip asahi
        table ip asahi {{
            chain services {{
                {rules}
            }}
            chain prerouting {{ type nat hook prerouting priority -100; jump services; }}
            chain output {{ type nat hook output priority -100; jump services; }}
            chain postrouting {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
        }}
    """
    process = await asyncio.create_subprocess_exec("nft", "-f", "-", stdin=subprocess.PIPE)
    await process.communicate(table.encode())
    assert process.returncode == 0, f"nft refuses:\n{table}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
