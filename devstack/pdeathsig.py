"""Run a program that ends with its parent process: `pdeathsig.py PARENT ORPHAN_GRACE PROGRAM [ARGUMENT…]`.

This script requests SIGKILL at the end of its parent (PR_SET_PDEATHSIG) and then executes the program. It is a script
because `preexec_fn` is unsafe in a process with threads, and deprecated there since Python 3.12.

A program that needs ORPHAN_GRACE seconds to save its data gets SIGTERM first, from a watcher process. The kernel cannot
send that signal: it would send one per thread of the parent, and Azurite discards its data at the second one.
The watcher sends SIGKILL after ORPHAN_GRACE seconds, because Azurite ignores SIGTERM while a request is incomplete.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, orphan_grace: float, argv: list[str]) -> None:
    """Bind this process to `parent` and execute `argv`. On systems other than Linux only execute `argv`."""
    if sys.platform == "linux":
        if orphan_grace:
            with contextlib.suppress(ProcessLookupError):  # the check below notices that the parent ended
                _start_watcher(os.pidfd_open(parent), os.pidfd_open(os.getpid()), orphan_grace)
        else:
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call
            sys.exit(1)
    os.execvp(argv[0], argv)  # noqa: S606


def _start_watcher(parent: int, program: int, orphan_grace: float) -> None:
    """Fork a watcher: when `parent` ends it sends SIGTERM to `program`, and SIGKILL `orphan_grace` seconds later."""
    # Keep the read end of stdout open in the watcher: Azurite aborts if the last lines that it prints have no reader.
    used = {parent, program, os.open("/proc/self/fd/1", os.O_RDONLY)}
    if os.fork():
        return
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - importing pathlib takes long
        if descriptor > 2 and descriptor not in used:  # a file lock must end with the program, not with the watcher
            with contextlib.suppress(OSError):
                os.close(descriptor)
    devnull = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # a reader of the program's output must not wait for the watcher
        os.dup2(devnull, stream)
    ended, _, _ = select.select([parent, program], [], [])
    with contextlib.suppress(ProcessLookupError):
        if program not in ended:
            signal.pidfd_send_signal(program, signal.SIGTERM)
        if not select.select([program], [], [], orphan_grace)[0]:
            signal.pidfd_send_signal(program, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
