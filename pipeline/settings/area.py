"""Base of the settings of one area."""

from pydantic import BaseModel

MIB = 1024 * 1024


class Area(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True):
    """Settings of one area; `Settings` has the fields of all areas. Pydantic never builds an area's own validator."""
