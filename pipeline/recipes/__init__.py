"""The recipe file: model, loading, matching, output paths, hash."""

from .loading import Recipes, load, loads
from .recipe import Recipe, Rendition

__all__ = ["Recipe", "Recipes", "Rendition", "load", "loads"]
