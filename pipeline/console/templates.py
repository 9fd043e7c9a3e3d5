"""Jinja templates with automatic escaping, and static files."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.console import charts, formatting
from pipeline.console.auth import CONSOLE_PATH
from pipeline.engine.encode.dropped import MEANINGS

NOTICES = {
    "retried": "Queued for a retry.",
    "dismissed": "Dismissed.",
    "ended": "The session has ended.",
    "draining": "The session ends after its running jobs.",
    "requested": "Recycling requested. The instance that holds the slot checks for requests every 10 s.",
    "lease_broken": "The instance did not respond and loses the slot. Its jobs restart in other sessions.",
    "no_session": "The slot had no session.",
    "started": "Run started.",
    "cancelled": "Run cancelled. No more of its jobs start.",
    "resumed": "Run resumed.",
    "work_paused": "Paused. Every instance notices within 20 s; running jobs end.",
    "work_resumed": "Resumed. Waiting jobs continue within five minutes.",
}
"""Notices about a change, shown on the next page."""
FOLDER = Path(__file__).parent
HASH_DIGITS = 12
"""Number of digits of a rendition's hash in its URL."""
STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFile:
    """A static file, and a digest of its content."""

    data: bytes
    content_type: str
    digest: str


def static_file(name: str) -> StaticFile | None:
    """Return a file of the folder `static`; None if there is none."""
    return _static_files().get(name)


@cache
def _static_files() -> dict[str, StaticFile]:
    """Read all static files once: a requested name never becomes a path."""
    paths = [path for path in (FOLDER / "static").iterdir() if path.suffix in STATIC_TYPES]
    return {path.name: _read_static(path) for path in paths}


def _read_static(path: Path) -> StaticFile:
    data = path.read_bytes()
    return StaticFile(data, STATIC_TYPES[path.suffix], hashlib.sha256(data).hexdigest()[:16])


def source_url(job: str, etag: str) -> str:
    """Return the URL of the source of a job in this version. A cached copy under this URL stays correct."""
    return _image_url(job, "source", etag.strip('"'))


def rendition_url(job: str, rendition: Mapping[str, Any]) -> str:
    """Return the URL of a rendition of a job in this version."""
    name = quote(rendition["name"], safe="")
    return _image_url(job, f"rendition/{name}", str(rendition["sha256"])[:HASH_DIGITS])


def _image_url(job: str, part: str, version: str) -> str:
    return f"{CONSOLE_PATH}/images/{job}/{part}?{urlencode({'v': version})}"


def render(template: str, **context: Any) -> str:  # noqa: ANN401 - any variables of the template
    """Render a template to HTML."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode(),
        "number": formatting.number,
        "plural": formatting.plural,
        "size": formatting.size,
        "duration": formatting.duration,
        "money": formatting.money,
        "clip": formatting.clip,
        "timestamp": _timestamp,
        "isolated": _isolated,
    }
    environment.globals |= {
        "root": CONSOLE_PATH,
        "static_url": _static_url,
        "source_url": source_url,
        "rendition_url": rendition_url,
        "charts": charts,
        "formatting": formatting,
        "notices": NOTICES,
        "paused": {},
        "outdated": "",
        "dropped_meanings": MEANINGS,
    }
    return environment


def _static_url(name: str) -> str:
    file = static_file(name)
    return f"{CONSOLE_PATH}/static/{name}?{file.digest if file else ''}"


def _timestamp(moment: Any, *, relative: bool = True) -> Markup:  # noqa: ANN401 - a datetime, or None
    """Render a time in UTC; a script converts it to the viewer's time zone."""
    if moment is None:
        return Markup("–")
    text = formatting.ago(moment) if relative else formatting.utc(moment)
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        formatting.iso(moment), formatting.utc(moment), Markup(" data-relative") if relative else "", text
    )


def _isolated(text: str, max_characters: int = 80) -> Markup:
    """Render a user-supplied name: isolated from the surrounding writing direction, invisible characters escaped."""
    text = formatting.visible(text)
    return Markup('<bdi class="name" title="{}">{}</bdi>').format(
        formatting.clip(text, 400), formatting.clip(text, max_characters)
    )
