"""Errors of the function host."""


class HostError(Exception):
    """The function app cannot be served. The message says how to correct that."""
