"""Settings: environment variable, default, bounds and description of each.

The environment variable `PIPELINE_MAX_PIXELS` sets the field `max_pixels`. The storage account follows the convention
of Azure Functions for a connection named `IMAGES`. Either `IMAGES` is a connection string (the emulator), or
`IMAGES__blobServiceUri`, `IMAGES__queueServiceUri` and `IMAGES__tableServiceUri` are the service endpoints and a
managed identity authenticates (`IMAGES__clientId` for a user-assigned one).

A request cannot change any setting.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from math import floor
from typing import Self

from pydantic import ValidationError, model_validator

from pipeline.errors import ConfigError
from pipeline.settings.area import MIB
from pipeline.settings.interfaces import ConsoleSettings, HttpSettings
from pipeline.settings.jobs import JobSettings, RetentionSettings
from pipeline.settings.pool import LOOPBACK, PoolSettings
from pipeline.settings.recipes import APP_FOLDER, LimitSettings, RecipeSettings
from pipeline.settings.resource_names import BLOB_TRIGGER_POISON_QUEUE
from pipeline.settings.resources import ResourceSettings
from pipeline.settings.runs import PriceSettings, RunSettings
from pipeline.settings.storage_account import CONNECTION, StorageAccount
from pipeline.telemetry import logger

__all__ = [
    "APP_FOLDER",
    "BLOB_TRIGGER_POISON_QUEUE",
    "CONNECTION",
    "LOOPBACK",
    "MIB",
    "PLATFORM_AUTH_VARIABLE",
    "PREFIX",
    "Settings",
    "StorageAccount",
    "variable",
    "whole_hours",
]

log = logger(__name__)

PREFIX = "PIPELINE_"
# The platform tells the app with it if App Service authentication is on. Its own host reads the same variable to decide
# if it removes X-MS-CLIENT-PRINCIPAL from the requests of clients.
PLATFORM_AUTH_VARIABLE = "WEBSITE_AUTH_ENABLED"


class Settings(
    # Pydantic takes the fields of the last class first: this is the order of docs/settings.md, read upwards.
    LimitSettings,
    RetentionSettings,
    HttpSettings,
    JobSettings,
    PoolSettings,
    ConsoleSettings,
    PriceSettings,
    RunSettings,
    ResourceSettings,
    RecipeSettings,
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    defer_build=False,
):
    """All settings except the storage account. Units: seconds, bytes, and pixels summed over all frames."""

    @model_validator(mode="after")
    def _caps_on_cost_can_hold(self) -> Self:
        caps = [name for name in ("run_max_cost", "month_max_cost") if name in self.model_fields_set]
        if self.uncapped_reason and caps:
            raise ValueError(f"{variable(caps[0])} cannot hold: {self.uncapped_reason}; remove it")
        if self.caps_cost and self.month_max_cost < self.price_session_hour:
            raise ValueError(
                f"{variable('month_max_cost')}={self.month_max_cost:g} is less than one session-hour costs "
                f"({self.price_session_hour:g}), so no session could start: raise it, or use `image-pipeline pause`"
            )
        return self

    @property
    def uncapped_reason(self) -> str:
        """The reason why the app can hold no cap on the cost; empty if it can."""
        if self.pool_is_custom_container:
            return (
                "the pool has an image of its own, so that its nodes are billed and not its sessions, and the app does "
                "not know their number"
            )
        if self.price_session_hour == 0:
            return f"{variable('price_session_hour')} is 0, so that sessions have no price"
        return ""

    @property
    def caps_cost(self) -> bool:
        """True if the caps on the cost hold."""
        return not self.uncapped_reason

    @property
    def run_max_hours(self) -> int | None:
        """Session-hours that PIPELINE_RUN_MAX_COST allows; None without a cap."""
        return whole_hours(self.run_max_cost, self.price_session_hour) if self.caps_cost else None

    @property
    def month_max_hours(self) -> int | None:
        """Session-hours that PIPELINE_MONTH_MAX_COST allows; None without a cap."""
        return whole_hours(self.month_max_cost, self.price_session_hour) if self.caps_cost else None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, ignore_unknown: bool = False) -> Self:
        """Read the settings from `environ` (default: the environment of the process).

        An unknown variable with the prefix `PIPELINE_` is an error. With `ignore_unknown` it is a warning event:
        provisioning and rollbacks give older code newer settings.

        Raises:
            ConfigError: A setting is missing, invalid or unknown; the message lists all problems.
        """
        environ = os.environ if environ is None else environ
        values = {key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
        if ignore_unknown:
            for name in sorted(values.keys() - cls.model_fields.keys()):
                del values[name]
                log.warning("%s; it is ignored", _unknown(name), extra={"event": "settings.unknown"})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("settings:\n" + "\n".join(f"  {line}" for line in _problems(error))) from None


def whole_hours(cost: float, price: float) -> int:
    """Return the number of whole session-hours that a cost covers at a price per hour above 0."""
    # 0.6 / 0.03 is 20, not 19.99.
    return max(0, floor(round(cost / price, 6)))


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def _unknown(field: str) -> str:
    """Return the message about a variable that is no setting, with the nearest known name."""
    near = difflib.get_close_matches(field, Settings.model_fields, n=1)
    return f"{variable(field)} is not a setting" + (f"; did you mean {variable(near[0])}?" if near else "")


def _problems(error: ValidationError) -> Iterator[str]:
    """Yield one line per invalid setting: its variable, the value, and the rule that it breaks."""
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            yield f"{variable(name)} is not set: {Settings.model_fields[name].description}"
        elif problem["type"] == "extra_forbidden":
            yield _unknown(name)
        else:
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            yield f"{variable(name)}={problem['input']!r}: {message}" if name else message
