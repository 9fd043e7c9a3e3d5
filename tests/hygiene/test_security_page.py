"""The security page names existing tests, files and settings."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_named_test_exists() -> None:
    named = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 25
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []


def test_every_named_file_and_setting_exists() -> None:
    files = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", PAGE)
    assert not [name for name in files if not (ROOT / name).exists() and not (ROOT / "tests" / name).exists()]
    settings = {name.removeprefix("PIPELINE_").lower() for name in re.findall(r"PIPELINE_[A-Z_]+", PAGE)}
    assert settings
    assert settings <= set(Settings.model_fields)
