"""Run a program that cannot outlive the process that started it: `python tether.py PARENT PROGRAM [ARGUMENT…]`.

It asks the kernel for SIGKILL at the end of its parent and then becomes the program. A program of its own rather than
`preexec_fn`, which is not safe (and since Python 3.12 a warning) in a process that has threads. SIGKILL rather than
SIGTERM, because Azurite waits for ever on SIGTERM while a request is half sent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    """Tie this process to `parent` and become `argv`. Elsewhere than on Linux it only becomes `argv`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            sys.exit(1)
    os.execvp(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
