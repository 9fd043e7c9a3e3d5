"""The embedded session pool: a local twin of the data plane of Azure Container Apps dynamic sessions."""

from session_pool_emulator.command import command

__all__ = ["command"]
