"""Command `settings`: show the current values, or print the page docs/settings.md."""

import os
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.table import Table

from pipeline.cli.common import console, errors_shown
from pipeline.settings import Settings, variable

_HEAD = """\
# Settings

Environment variables of the function app and of the command line. This page is generated from `pipeline/settings` by
`image-pipeline settings --markdown`. Edit the descriptions there.

Times are in seconds and sizes in bytes, unless the description says otherwise. Pixels are summed over all frames. A
request cannot change any setting. `image-pipeline settings` prints the current values.

The command line and the local stack refuse an unknown variable with the prefix `PIPELINE_`, and name the most similar
setting. The deployed app logs the event `settings.unknown` and ignores it, because a deployment or a rollback may give
older code newer settings.

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
    """Show every setting: value, default and meaning."""
    if markdown:
        typer.echo(as_markdown(), nl=False)
        return
    with errors_shown():
        settings = Settings.load(os.environ)
    table = Table("variable", "value", "default", "meaning", box=None)
    for name, field in Settings.model_fields.items():
        value = _text(getattr(settings, name))
        default = _default(field)
        table.add_row(variable(name), value if value == default else f"[bold]{value}[/]", default, field.description)
    console.print(table)


def as_markdown() -> str:
    """Return the page docs/settings.md."""
    rows = [
        f"| `{variable(name)}` | {_code(_default(field))} | {_bounds(field.metadata)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + "".join(rows) + _TAIL


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _text(field.default)


def _text(value: object) -> str:
    """Return a value as text: `yes` and `no` for switches, `none` for no value."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _code(text: str) -> str:
    return text if text in ("", "none", "required") else f"`{text}`"


def _bounds(metadata: list[Any]) -> str:
    """Return the range of a number, such as `1 to 600`; empty for other settings."""
    low, high = (next((getattr(each, end) for each in metadata if hasattr(each, end)), None) for end in ("ge", "le"))
    if low is None:
        return ""
    return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
