"""What can go wrong in the embedded Azure. Every message says what to change.

DevstackError
├── ChildError      a program of the stack did not start, or ended by itself
├── NodeError       there is no Node.js that will do, or its packages cannot be installed
└── HostError       the function app cannot be served
"""

from __future__ import annotations


class DevstackError(Exception):
    """The root: what ends a command with a message and status 1."""


class ChildError(DevstackError):
    """A program of the stack did not start, or ended by itself; the message closes with what it printed last."""


class NodeError(DevstackError):
    """There is no Node.js that will do, or its packages cannot be installed."""


class HostError(DevstackError):
    """The function app cannot be served: it does not load, or asks for what is not there."""


class DemoError(DevstackError):
    """The demo cannot be shown, or not every photo has every rendition."""
