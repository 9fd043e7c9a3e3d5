"""Templates, with everything in them escaped, and the files that pages refer to."""

from __future__ import annotations

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
from pipeline.console.auth import PATH

NOTICES = {
    "retried": "Queued once more.",
    "dismissed": "Dismissed.",
    "ended": "The session is ended.",
    "draining": "The session ends as soon as its jobs are through.",
    "requested": "The instance that holds the session is asked to end it. It looks within ten seconds.",
    "lease_broken": "The instance that held the slot has not answered, and loses it. Jobs there begin again elsewhere.",
    "no_session": "There was no session to end.",
    "started": "The run has started.",
    "cancelled": "The run is being cancelled: no further job of it begins.",
    "resumed": "The run goes on.",
}
"""What the page after a change says of it."""
HERE = Path(__file__).parent
VERSION = 12
"""Digits of a rendition's hash that stand in its address."""
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Static:
    """A file that pages refer to; `tag` is a hash of its content."""

    data: bytes
    content_type: str
    tag: str


def static(name: str) -> Static | None:
    """One of the files in the folder `static`; None when there is no such file."""
    return _files().get(name)


@cache
def _files() -> dict[str, Static]:
    """All of them: whatever is asked for, nothing is looked up on disk."""
    paths = [path for path in (HERE / "static").iterdir() if path.suffix in TYPES]
    return {path.name: _file(path.read_bytes(), TYPES[path.suffix]) for path in paths}


def _file(data: bytes, content_type: str) -> Static:
    return Static(data, content_type, hashlib.sha256(data).hexdigest()[:16])


def source_picture(job: str, etag: str) -> str:
    """The address of the source of a job, in that version: what is kept under it stays right."""
    return _picture(job, "source", etag.strip('"'))


def rendition_picture(job: str, made: Mapping[str, Any]) -> str:
    """The address of a rendition of a job, in that version."""
    return _picture(job, f"rendition/{quote(made['name'], safe='')}", str(made["sha256"])[:VERSION])


def _picture(job: str, part: str, version: str) -> str:
    return f"{PATH}/pictures/{job}/{part}?{urlencode({'v': version})}"


def render(template: str, **context: Any) -> str:  # noqa: ANN401 - what the template asks for
    """A template filled in."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode(),
        "number": formatting.number,
        "size": formatting.size,
        "duration": formatting.duration,
        "money": formatting.money,
        "clip": formatting.clip,
        "moment": _moment,
        "name": _name,
    }
    environment.globals |= {
        "root": PATH,
        "file": _address,
        "source_picture": source_picture,
        "rendition_picture": rendition_picture,
        "charts": charts,
        "words": formatting,
        "notices": NOTICES,
    }
    return environment


def _address(name: str) -> str:
    found = static(name)
    return f"{PATH}/static/{name}?{found.tag if found else ''}"


def _moment(moment: Any, *, relative: bool = True) -> Markup:  # noqa: ANN401 - a datetime, or None
    """A time: in UTC as it stands; the script shows it in the viewer's own zone."""
    if moment is None:
        return Markup("–")
    text = formatting.ago(moment) if relative else formatting.utc(moment)
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        formatting.stamp(moment), formatting.utc(moment), Markup(" data-relative") if relative else "", text
    )


def _name(text: str, longest: int = 80) -> Markup:
    """Somebody's name for something: kept apart from the text around it, with nothing in it that cannot be seen."""
    text = formatting.visible(text)
    return Markup('<bdi class="name" title="{}">{}</bdi>').format(
        formatting.clip(text, 400), formatting.clip(text, longest)
    )
