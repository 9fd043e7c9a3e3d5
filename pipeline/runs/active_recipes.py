"""Active recipe versions: the app stores them, and a command on another machine compares its own with them."""

from dataclasses import dataclass

from pipeline.recipes import Recipes
from pipeline.runs.selection import version_id
from pipeline.storage import Document, RunStore, is_older

KEY = "active"


@dataclass(frozen=True)
class ActiveRecipes:
    """The stored recipe versions of the app. `deployment` is the deployment number of this process."""

    store: RunStore
    recipes: Recipes
    deployment: int = 0

    async def publish(self) -> bool:
        """Store the recipe versions of this process, unless a newer deployment has stored its own.

        Returns:
            True if this process belongs to the newest deployment.
        """
        content = {"deployment": self.deployment, "recipes": self._own_versions()}
        while True:
            stored = await self._stored()
            if stored and is_older(self.deployment, _deployment(stored)):
                return False
            if stored and stored.content == content:
                return True
            if stored:
                written = await self.store.replace("recipes", KEY, stored, content)
            else:
                written = await self.store.create("recipes", KEY, content)
            if written:
                return True

    async def mismatch(self, *, assume_stored: bool = True) -> str:
        """Return the reason why the recipes of this process are not known to be those of the app; empty if they are.

        With `assume_stored` False, they count as equal while the app has stored none.
        """
        stored = await self._stored()
        if stored is None:
            if not assume_stored:
                return ""
            return "the app has not stored its recipe versions yet: it does so within ten minutes after its start"
        own, active = self._own_versions(), stored.content.get("recipes")
        active = active if isinstance(active, dict) else {}
        different = sorted(name for name in own.keys() | active.keys() if own.get(name) != active.get(name))
        if not different:
            return ""
        several = f" and of {len(different) - 1} more" if len(different) > 1 else ""
        number = _deployment(stored)
        app = f"the app (deployment {number})" if number else "the app"
        return (
            f"{app} and this machine have different versions of the recipe {different[0]}{several}: use the recipe "
            "file and the version of the app, or deploy these"
        )

    async def newest_deployment(self) -> int:
        """Return the number of the newest deployment that has stored its recipes, or that of this process."""
        stored = await self._stored()
        return max(self.deployment, _deployment(stored) if stored else 0)

    async def _stored(self) -> Document | None:
        return await self.store.get("recipes", KEY)

    def _own_versions(self) -> dict[str, str]:
        return {recipe.name: version_id(recipe) for recipe in self.recipes}


def _deployment(stored: Document) -> int:
    """Return the stored deployment number; 0 after an edit by hand that has made it unreadable."""
    number = stored.content.get("deployment")
    return number if isinstance(number, int) else 0
