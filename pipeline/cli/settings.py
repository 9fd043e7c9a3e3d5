"""`python -m pipeline settings`: what is in force, or the table for the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.table import Table

from pipeline.cli.common import console, told
from pipeline.settings import Settings, variable

_HEAD = """\
# Settings

Environment variables of the function app and of the command line. This page is generated from `pipeline/settings.py` by
`python -m pipeline settings --markdown`. Edit the descriptions there.

Times are in seconds and sizes in bytes, unless the description says otherwise. Pixels are summed over all frames. A
request cannot change any setting. `python -m pipeline settings` prints the current values.

| variable | default | bounds | meaning |
|---|---|---|---|
"""

_TAIL = """
## Storage account

| variable | meaning |
|---|---|
| `IMAGES` | A connection string (storage emulator). For a managed identity, set the following variables instead. |
| `IMAGES__blobServiceUri`, `…queueServiceUri`, `…tableServiceUri` | The three endpoints of the storage account. |
| `IMAGES__credential` | `managedidentity`, for the triggers of the Functions host. |
| `IMAGES__clientId` | The client id of a user-assigned identity. |
| `AzureWebJobsStorage`, `AzureWebJobsStorage__…` | The same settings for the host's own blobs and queues. |

On Azure, `infra/` sets all of these variables. On a laptop, `python -m devstack up` sets them. For Azure Functions Core
Tools, start with `local.settings.sample.json`.
"""


def command(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/settings.md.")] = False,
) -> None:
    """Show every setting: what is in force, where that differs from the default, and what it means."""
    if markdown:
        typer.echo(as_markdown(), nl=False)
        return
    with told():
        settings = Settings.load(os.environ)
    table = Table("variable", "in force", "meaning", box=None)
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = str(value) if field.repr else "(set)"
        table.add_row(variable(name), shown if value == field.default else f"[bold]{shown}[/bold]", field.description)
    console.print(table)


def as_markdown() -> str:
    """The documentation's page."""
    rows = (
        f"| `{variable(name)}` | {_default(field)} | {_bounds(field)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )
    return _HEAD + "".join(rows) + _TAIL


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    if field.default is None:
        return "none"
    shown = {True: "yes", False: "no"}.get(field.default) if isinstance(field.default, bool) else None
    return shown or f"`{_number(field.default)}`"


def _bounds(field: FieldInfo) -> str:
    return ", ".join(_bound(field.metadata))


def _bound(metadata: list[Any]) -> Iterator[str]:
    low = next((each.ge for each in metadata if hasattr(each, "ge")), None)
    high = next((each.le for each in metadata if hasattr(each, "le")), None)
    if low is not None and high is not None:
        yield f"{_number(low)} to {_number(high)}"


def _number(value: Any) -> str:  # noqa: ANN401 - whatever a default may be
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
