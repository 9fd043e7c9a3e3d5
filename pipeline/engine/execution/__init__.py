"""Execution: run the jobs of one call in a session and report on them."""
