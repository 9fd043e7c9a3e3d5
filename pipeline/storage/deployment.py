"""Deployment number of this process: which of two packages of the app was made later.

`scripts/package` writes the number into the package, in seconds since 1970 (UTC). It is no app setting, since a new
setting reaches the old code first. The local stack runs from a checkout and has none: several stacks may share one.
"""

from functools import cache
from pathlib import Path

from pipeline.errors import ConfigError

NUMBER_FILE = Path(__file__).parents[1] / "deployment.txt"


def read_number(file: Path) -> int:
    """Return the deployment number in a file; 0 without a file. Raises ConfigError if the file holds no number."""
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return 0
    if not (text.isdecimal() and text.isascii()):
        raise ConfigError(f"{file.name} in the package holds no deployment number: package and deploy the app again")
    return int(text)


@cache
def deployment_number() -> int:
    """Return the deployment number of this package; 0 in a checkout."""
    return read_number(NUMBER_FILE)


def is_older(own: int, other: int) -> bool:
    """Return True if the deployment `own` is older than `other`. A checkout (0) is never older or newer."""
    return 0 < own < other
