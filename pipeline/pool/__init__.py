"""Session pool: its REST client, the scheduler of its slots, and the sessions at work."""
