"""The data-plane API over HTTP."""
