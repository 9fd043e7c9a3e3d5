"""State of the pipeline as plain data: pool overview, health, versions and statistics. It knows nothing of HTTP."""
