"""Containers: walk the structure of files without decoding pixels, one walker for each container format."""
