"""A recipe as the rest of the pipeline uses it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from pipeline.transforms import protocol
from pipeline.transforms.formats import FORMATS, WRITTEN, Auto, Format
from pipeline.transforms.output import Output
from pipeline.transforms.protocol import Job, Limits, RenditionJob, RenditionReport, Step

from . import globs, language, paths
from .engine_hash import engine_hash


@dataclass(frozen=True)
class Rendition:
    """One output of a recipe. `path` is a pattern: see `Recipe.output_path`."""

    name: str
    encoder: Format = field(repr=False)
    output: Output = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    path: str
    cache_control: str | None

    @property
    def format(self) -> str:
        """The format by its name in recipes: jpeg, png, … or auto, keep."""
        return self.encoder.name

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that it may come out in: one, or several for auto and keep."""
        if isinstance(self.encoder, Auto):
            return tuple(self.encoder.among)
        return tuple(WRITTEN) if self.encoder.decided_late else (self.format,)

    @property
    def content_type(self) -> str:
        """The media type of the format; empty for auto and keep: see `content_type_of`."""
        return self.encoder.content_type

    @property
    def extension(self) -> str:
        """The usual extension of the format, without the dot; empty for auto and keep."""
        return self.encoder.extension

    @property
    def extensions(self) -> list[str]:
        """The extensions that it may come out with."""
        return [FORMATS[name].extension for name in self.formats]

    def content_type_of(self, made: RenditionReport) -> str:
        """The media type of what the session made."""
        return FORMATS[made["format"]].content_type

    @property
    def path_known(self) -> bool:
        """True when the output path can be told before the rendition is made."""
        late = set(paths.AFTER) | ({"ext"} if self.encoder.decided_late else set())
        return not late & set(paths.fields(self.path))

    def options(self) -> dict[str, object]:
        """The format's options, every one of them."""
        return asdict(self.encoder)


@dataclass(frozen=True)
class Recipe:
    """Which sources, what is done to them, and what comes out. Immutable; `hash` says whether anything changed."""

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    steps: tuple[Step, ...] = field(repr=False)
    renditions: tuple[Rendition, ...]

    def matches(self, source_name: str) -> bool:
        """True when the recipe is for this source. A recipe without include never is."""
        name = source_name.lower()
        return any(globs.compiled(glob).fullmatch(name) for glob in self.include) and not any(
            globs.compiled(glob).fullmatch(name) for glob in self.exclude
        )

    def sources(self) -> language.Node:
        """The set of source names that the recipe is for; for one without include: any."""
        if not self.include:
            return language.NAMES
        included = language.both([language.NAMES, language.either([globs.language(glob) for glob in self.include])])
        return language.difference(included, language.either([globs.language(glob) for glob in self.exclude]))

    def rendition(self, name: str) -> Rendition:
        """The rendition of that name; KeyError when there is none."""
        return next((each for each in self.renditions if each.name == name), None) or _missing(name)

    def output_path(self, rendition: Rendition, source_name: str, made: RenditionReport | None = None) -> str:
        """Where the rendition of that source goes: a safe blob name.

        `made` is what the session reported; without it, a pattern that needs it raises ValueError (see `path_known`).
        """
        known = {"recipe": self.name, "rendition": rendition.name, "ext": rendition.extension}
        if made is not None:
            known |= {"ext": FORMATS[made["format"]].extension}
            known |= {"width": str(made["width"]), "height": str(made["height"]), "hash": made["sha256"][:16]}
        elif not rendition.path_known:
            raise ValueError(f"the path of rendition {rendition.name} is known only when it is made: {rendition.path}")
        return paths.fill(rendition.path, source_name, **known)

    def job(
        self,
        *,
        source: str,
        report: str,
        files: Mapping[str, str],
        limits: Limits,
        formats: Sequence[str],
        remove: Sequence[str] = (),
    ) -> Job:
        """The job document for a session. `files` names the file of each rendition in the session's directory."""
        return Job(
            version=protocol.VERSION,
            source=source,
            report=report,
            remove=list(remove),
            formats=list(formats),
            limits=limits,
            transforms=list(self.steps),
            renditions=[self._rendition_job(rendition, files[rendition.name]) for rendition in self.renditions],
        )

    def _rendition_job(self, rendition: Rendition, file: str) -> RenditionJob:
        return RenditionJob(
            name=rendition.name,
            file=file,
            format=rendition.format,
            options=rendition.options(),
            transforms=list(rendition.steps),
            output=asdict(rendition.output),
        )

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits over everything that decides the renditions: the normalised recipe and the engine.

        Comments, key order and spelled-out defaults change nothing, and neither does `match`.
        """
        document = {
            "engine": engine_hash(),
            "name": self.name,
            "steps": self.steps,
            "renditions": [
                [each.name, each.format, each.options(), asdict(each.output), each.steps, each.path, each.cache_control]
                for each in sorted(self.renditions, key=lambda rendition: rendition.name)
            ],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _missing(name: str) -> Rendition:
    raise KeyError(name)
