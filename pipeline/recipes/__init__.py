"""Recipe file: loading, model, matching, output paths, hash."""

from pipeline.recipes.loading import Recipes, load, load_recipes, loads
from pipeline.recipes.recipe import Recipe, Rendition, focal_point

__all__ = ["Recipe", "Recipes", "Rendition", "focal_point", "load", "load_recipes", "loads"]
