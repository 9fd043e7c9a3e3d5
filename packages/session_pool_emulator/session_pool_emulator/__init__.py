"""Emulator of Azure Container Apps dynamic sessions: the data plane API on localhost, with sandboxed Python kernels."""
