"""Errors of the Event Grid emulator."""


class EventGridError(Exception):
    """An option, subscription or event is invalid, or a handshake failed. The message says how to correct that."""
