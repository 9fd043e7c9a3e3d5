"""Settings of recipes: the recipe file, user code and the limits of images."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from pipeline.engine.protocol import Limits
from pipeline.engine.revisions import DECODERS
from pipeline.settings.area import MIB, Area

APP_FOLDER = Path(__file__).parents[2]


class RecipeSettings(Area):
    """The recipe file, and recipes in requests."""

    recipes: Path = Field(Path("recipes.yaml"), description="Path of the recipe file, relative to the app's folder.")
    allow_code: bool = Field(False, description="Allow recipes with user code (Python).")
    adhoc_recipes: Literal["off", "on", "code"] = Field(
        "off",
        description="Allow ad-hoc recipes in requests: off, on, or code (with user code too, which also needs "
        "`allow_code`).",
    )
    code_folder: Path | None = Field(None, description="Folder of Python modules that recipes may name as user code.")

    @property
    def recipe_file(self) -> Path:
        """Return the path of the recipe file."""
        return APP_FOLDER / self.recipes

    @property
    def module_folder(self) -> Path | None:
        """Return the path of the folder of user code, or None."""
        return APP_FOLDER / self.code_folder if self.code_folder else None

    @property
    def adhoc_may_have_code(self) -> bool:
        """Return True if an ad-hoc recipe may contain user code."""
        return self.allow_code and self.adhoc_recipes == "code"


class LimitSettings(Area):
    """Limits of sources and renditions. Pixels are summed over all frames."""

    allowed_formats: str = Field(
        "JPEG,PNG,WEBP,GIF,TIFF,AVIF,BMP,HEIF",
        description="Allowed formats of sources, by Pillow's names. The format is detected from the content.",
    )
    max_source_bytes: int = Field(100 * MIB, ge=1, le=128 * 1000 * 1000, description="Maximum size of a source.")
    max_pixels: int = Field(
        100_000_000, ge=1, le=2_000_000_000, description="Maximum width × height × frames of a source."
    )
    max_frames: int = Field(500, ge=1, le=100_000, description="Maximum frames of a source.")
    max_renditions: int = Field(20, ge=1, le=100, description="Maximum renditions of a recipe.")
    max_rendition_bytes: int = Field(100 * MIB, ge=1, le=1000 * MIB, description="Maximum size of a rendition.")
    max_rendition_pixels: int = Field(
        100_000_000, ge=1, le=2_000_000_000, description="Maximum width × height of a rendition."
    )

    @field_validator("allowed_formats")
    @classmethod
    def _formats_are_known(cls, value: str) -> str:
        names = [name.strip().upper() for name in value.split(",") if name.strip()]
        refused = sorted(set(names) - set(DECODERS))
        if refused or not names:
            raise ValueError(f"{', '.join(refused) or 'nothing'} cannot be allowed")
        return ",".join(names)

    @property
    def format_names(self) -> list[str]:
        """Return `allowed_formats` as a list of Pillow's format names."""
        return self.allowed_formats.split(",")

    @property
    def limits(self) -> Limits:
        """Return the limits that the engine enforces for a source and its renditions."""
        return Limits(
            max_pixels=self.max_pixels,
            max_frames=self.max_frames,
            max_rendition_bytes=self.max_rendition_bytes,
            max_rendition_pixels=self.max_rendition_pixels,
        )
