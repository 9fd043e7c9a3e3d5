"""The recipe file: model, loading, matching, output paths, hash."""

from .loading import Recipes, load, loads
from .recipe import Recipe, Rendition, focal_point

__all__ = ["Recipe", "Recipes", "Rendition", "focal_point", "load", "loads"]
