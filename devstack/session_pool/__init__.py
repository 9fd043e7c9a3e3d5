"""The embedded session pool: a local twin of the data plane of Azure Container Apps dynamic sessions."""

from devstack.session_pool.command import command

__all__ = ["command"]
