"""Local stack: storage emulator, session pool emulator and function host on one machine. Never deployed."""
