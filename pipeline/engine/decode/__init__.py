"""Decoding: detect, check and decode the source inside a session."""
