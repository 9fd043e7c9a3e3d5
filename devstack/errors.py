"""Errors of the local stack. Every message says how to correct the problem.

DevstackError
├── SubprocessError    a program of the stack did not start, or exited
├── NodeError          Node.js or its packages are missing and cannot be installed
├── RecipesError       the recipes of the app are invalid
├── SubscriptionError  a blob trigger cannot be subscribed to events
└── DemoError          the demo cannot run, or renditions are missing
"""

from __future__ import annotations

from collections.abc import Iterable


class DevstackError(Exception):
    """Base class. A command ends with the message and status 1."""


class SubprocessError(DevstackError):
    """A program of the stack did not start, or exited. The message contains the `reason` and its last output."""

    def __init__(self, reason: str, last_output: Iterable[str] = ()) -> None:
        super().__init__("\n    ".join([reason, *last_output]))
        self.reason = reason


class NodeError(DevstackError):
    """No suitable Node.js is installed, or its packages cannot be installed."""


class RecipesError(DevstackError):
    """The recipes of the app are invalid. The message comes from the pipeline."""


class SubscriptionError(DevstackError):
    """A blob trigger cannot be subscribed to events. The message comes from the Event Grid emulator."""


class DemoError(DevstackError):
    """The demo cannot run, or a photo does not have all renditions."""
