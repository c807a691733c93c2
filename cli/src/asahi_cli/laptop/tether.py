"""Ties a program to the life of the process that starts it, then becomes that program.

Run as a file by a bare interpreter, before anything else of the program: `tether.py PARENT_PID COMMAND…`. Where the
kernel cannot do it (it is Linux that can), a parent that is killed with SIGKILL leaves its programs behind.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"cannot be tied to its parent: {os.strerror(ctypes.get_errno())}")
    # The parent may have gone before the kernel knew.
    if os.getppid() != int(parent):
        sys.exit("the parent has gone")
    os.execv(command[0], command)  # noqa: S606 - the command comes from the parent's own table


if __name__ == "__main__":
    main()
