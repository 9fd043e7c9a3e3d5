"""Errors of the local stack. Every message says how to correct the problem."""

from collections.abc import Iterable


class DevstackError(Exception):
    """The stack, one of its commands or the demo cannot do its work. A command ends with the message and status 1."""


class SubprocessError(DevstackError):
    """A program of the stack did not start, or exited. The message contains the `reason` and its last output."""

    def __init__(self, reason: str, last_output: Iterable[str] = ()) -> None:
        super().__init__("\n    ".join([reason, *last_output]))
        self.reason = reason
