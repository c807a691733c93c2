"""A network of one's own, with nothing in it but loopback: what is measured cannot reach anything else."""

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

_INSIDE = "BENCH_PEERS_INSIDE"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = struct.Struct("16sH14x")


def go_inside(module: str, arguments: Sequence[str]) -> None:
    """Runs `module` anew within such a network, unless this process is in it already.

    Raises:
        OSError: Linux does not allow it here.
    """
    if os.environ.get(_INSIDE):
        _raise_loopback()
        return
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-m", module, *arguments]
    os.execvpe(command[0], command, {**os.environ, _INSIDE: "1"})  # noqa: S606 - a shell has nothing to add


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(b"lo", 0))
        _, flags = _REQUEST.unpack(answer)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _REQUEST.pack(b"lo", flags | _IFF_UP))
