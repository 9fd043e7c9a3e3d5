"""Deployments of a chaos run: two hosts, each with a deployment number and one of two recipe versions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.recipes import loads

VERSIONS = ("first", "second")
# `next` makes the renditions of the second version, so that the calm run has them for comparison.
RECIPES = """
recipes:
  web:
    match: {{include: ["photos/**"]}}
    renditions:
      small: {{format: webp, quality: 80, transforms: [{{resize: {{width: {small}}}}}]}}
      thumb: {{format: jpeg, transforms: [{{resize: {{width: {thumb}, height: {thumb}, mode: cover}}}}]}}
  next:
    match: {{include: ["next/**"]}}
    renditions:
      small: {{format: webp, quality: 80, transforms: [{{resize: {{width: 160}}}}]}}
      thumb: {{format: jpeg, transforms: [{{resize: {{width: 48, height: 48, mode: cover}}}}]}}
  asked:
    renditions:
      small: {{format: webp, quality: 80, transforms: [{{resize: {{width: 200}}}}]}}
"""
TEXTS = {"first": RECIPES.format(small=200, thumb=64), "second": RECIPES.format(small=160, thumb=48)}
FIRST_NUMBER = 1_800_000_000


class Deployments:
    """The deployments of the hosts; `active` is the recipe version of the newest one."""

    def __init__(self, folder: Path, hosts: Iterable[str]) -> None:
        """Write the files of the first deployment for all hosts."""
        self.folder, self.active, self.number = folder, VERSIONS[0], FIRST_NUMBER
        self._of_host: dict[str, int] = {}
        for host in hosts:
            self.write(host)
        self._hashes = {version: loads(text).get("web").hash for version, text in TEXTS.items()}

    def recipe_file(self, host: str) -> Path:
        """Return the path of a host's recipe file."""
        return self.folder / f"recipes-{host}.yaml"

    def number_file(self, host: str) -> Path:
        """Return the path of the file with a host's deployment number."""
        return self.folder / f"deployment-{host}.txt"

    def next(self) -> str:
        """Package the other recipe version under a new number; return the version."""
        self.number += 1000
        self.active = next(version for version in VERSIONS if version != self.active)
        return self.active

    def write(self, host: str) -> None:
        """Give a host the newest deployment; it applies with its next start."""
        self.recipe_file(host).write_text(TEXTS[self.active])
        self.number_file(host).write_text(str(self.number))
        self._of_host[host] = self.number

    def is_outdated(self, host: str) -> bool:
        """Return whether a host runs an older deployment than the newest."""
        return self._of_host[host] < self.number

    @property
    def active_hash(self) -> str:
        """The hash of the active version of the recipe `web`."""
        return self._hashes[self.active]
