"""Transforms: the named operations of recipes, and their registry."""
