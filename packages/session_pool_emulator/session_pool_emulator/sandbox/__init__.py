"""Sandboxes: their kinds, their view of the host, their start and their end."""
