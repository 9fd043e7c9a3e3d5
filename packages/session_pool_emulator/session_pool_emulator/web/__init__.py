"""Data plane API over HTTP."""
