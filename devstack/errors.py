"""What can go wrong in the embedded Azure. Every message says what to change.

DevstackError
├── ChildError      a program of the stack did not start, or ended by itself
├── PortError       a port is taken
├── NodeError       there is no Node.js that will do, or its packages cannot be installed
├── RecipesError    the recipes of the app are not right
├── HostError       the function app cannot be served
├── EventGridError  a subscription is not one, or its endpoint does not take it
└── DemoError       the demo cannot be shown
"""

from __future__ import annotations

from collections.abc import Iterable


class DevstackError(Exception):
    """The root: what ends a command with a message and status 1."""


class ChildError(DevstackError):
    """A program of the stack did not start, or ended by itself: `what`, and in the message what it printed last."""

    def __init__(self, what: str, printed: Iterable[str] = ()) -> None:
        super().__init__("\n    ".join([what, *printed]))
        self.what = what


class NodeError(DevstackError):
    """There is no Node.js that will do, or its packages cannot be installed."""


class PortError(DevstackError):
    """A port is taken."""


class EventGridError(DevstackError):
    """A subscription is not one, or its endpoint does not take it."""


class RecipesError(DevstackError):
    """The recipes of the app are not right; the message is the pipeline's."""


class HostError(DevstackError):
    """The function app cannot be served: it does not load, or asks for what is not there."""


class DemoError(DevstackError):
    """The demo cannot be shown, or not every photo has every rendition."""
