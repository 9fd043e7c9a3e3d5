"""The embedded Azure: storage emulator, session pool and function host for a laptop. Never deployed."""
