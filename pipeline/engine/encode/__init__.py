"""Encoding: output formats, their options, and the bytes of a rendition."""
