"""Deployment number of this process: which of two packages of the app was made later.

`scripts/package` writes the number into the package, in seconds since 1970 (UTC). It is no app setting, since a new
setting reaches the old code first. Several local stacks may run from one checkout: each has a number file of its own,
and names it in the variable `DEPLOYMENT_NUMBER_FILE`.
"""

import os
from functools import cache
from pathlib import Path

from pipeline.errors import ConfigError

NUMBER_FILE = Path(__file__).parents[1] / "deployment.txt"
# Names the number file of a local stack.
FILE_VARIABLE = "DEPLOYMENT_NUMBER_FILE"


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
    """Return the deployment number of this package or local stack; 0 in a checkout."""
    return read_number(Path(os.environ.get(FILE_VARIABLE) or NUMBER_FILE))


def is_older(own: int, other: int) -> bool:
    """Return True if the deployment `own` is older than `other`. A checkout (0) is never older or newer."""
    return 0 < own < other
