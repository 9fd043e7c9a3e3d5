"""The session pool: its REST client, the slots that divide it, and one leased session at work."""
