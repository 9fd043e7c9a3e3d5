"""Run a program that cannot outlive the process that started it: `tether.py PARENT FAREWELL PROGRAM [ARGUMENT…]`.

It asks the kernel for SIGKILL at the end of its parent and then becomes the program. A program of its own rather than
`preexec_fn`, which is not safe (and since Python 3.12 a warning) in a process that has threads.

A program that needs FAREWELL seconds to save what it holds gets SIGTERM first, from a second process that stands by:
the kernel would send it for each thread of the parent, and Azurite takes the second one for an order to drop all.
It is killed when the seconds are over, because Azurite waits for ever on SIGTERM while a request is half sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, farewell: float, argv: list[str]) -> None:
    """Tie this process to `parent` and become `argv`. Elsewhere than on Linux it only becomes `argv`."""
    if sys.platform == "linux":
        if farewell:
            with contextlib.suppress(ProcessLookupError):  # found out below
                _stand_by(os.pidfd_open(parent), os.pidfd_open(os.getpid()), farewell)
        else:
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            sys.exit(1)
    os.execvp(argv[0], argv)  # noqa: S606


def _stand_by(parent: int, program: int, farewell: float) -> None:
    """Leave a process behind that ends `program` after `parent`: asks it to, and kills it `farewell` seconds later."""
    # Closed in the program and kept open here: Azurite breaks off where nobody can read its last words.
    os.open("/proc/self/fd/1", os.O_RDONLY)
    if os.fork():
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # nobody is to wait for what this process might print
        os.dup2(nothing, stream)
    ended, _, _ = select.select([parent, program], [], [])
    with contextlib.suppress(ProcessLookupError):
        if program not in ended:
            signal.pidfd_send_signal(program, signal.SIGTERM)
        if not select.select([program], [], [], farewell)[0]:
            signal.pidfd_send_signal(program, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
