"""A recipe as the rest of the pipeline uses it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import cast

from pipeline.engine import protocol
from pipeline.engine.encode.formats import ENCODED_FORMATS, FORMATS, Auto, Format
from pipeline.engine.encode.output import Output
from pipeline.engine.protocol import Job, Limits, RenditionJob, RenditionReport, Step
from pipeline.engine.revisions import COMMON
from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import ALWAYS, TRANSFORMS

from . import globs, output_paths, regular_languages


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
        return tuple(ENCODED_FORMATS) if self.encoder.decided_late else (self.format,)

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
        late = set(output_paths.AFTER) | ({"ext"} if self.encoder.decided_late else set())
        return not late & set(output_paths.fields(self.path))

    def options(self) -> dict[str, object]:
        """The format's options, every one of them."""
        return asdict(self.encoder)

    def revisions(self) -> dict[str, int]:
        """Return the revisions of the encoders that may write the rendition, and of the options that it sets."""
        ours, defaults = asdict(self.output), asdict(Output())
        options = [name for name in Output.revisions if ours[name] != defaults[name]]
        return {
            **{f"encoder {name}": FORMATS[name].revision for name in (self.format, *self.formats)},
            **{f"option {name}": Output.revisions[name] for name in options},
        }


@dataclass(frozen=True)
class Recipe:
    """Which sources, what is done to them, and what comes out. Immutable; `hash` says whether anything changed.

    `isolation` says who shares a session ("single" whenever there is `code`, and "trusted" only for sources that were
    dropped, not for those that come with requests), `limits` are those that are tighter than
    the settings' (also `max_source_bytes` and `max_seconds`, which the host holds), and `carry` names the source's
    metadata that the renditions get.
    """

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    steps: tuple[Step, ...] = field(repr=False)
    renditions: tuple[Rendition, ...]
    sizes: tuple[int, int | None] = (0, None)
    content_types: tuple[str, ...] = ()
    exclusive: bool = False
    isolation: str = "shared"
    on_truncated: str = "fail"
    limits: dict[str, float] = field(default_factory=dict)
    carry: tuple[str, ...] = ()
    description: str = ""

    def matches(self, source_name: str, *, size: int | None = None, content_type: str | None = None) -> bool:
        """True when the recipe is for this source. A recipe without include never is."""
        name = source_name.lower()
        if size is not None and not self.sizes[0] <= size <= (self.sizes[1] or size):
            return False
        if content_type is not None and self.content_types:
            kind = content_type.partition(";")[0].strip().lower()
            if not any(globs.compiled(glob).fullmatch(kind) for glob in self.content_types):
                return False
        return any(globs.compiled(glob).fullmatch(name) for glob in self.include) and not any(
            globs.compiled(glob).fullmatch(name) for glob in self.exclude
        )

    def sources(self) -> regular_languages.Node:
        """The set of source names that the recipe is for; for one without include: any."""
        if not self.include:
            return regular_languages.NAMES
        included = regular_languages.both(
            [regular_languages.NAMES, regular_languages.either([globs.language(glob) for glob in self.include])]
        )
        return regular_languages.difference(
            included, regular_languages.either([globs.language(glob) for glob in self.exclude])
        )

    @property
    def family(self) -> str:
        """What figures are kept under, and seats shared out by: recipes of requests, used once or twice, are one."""
        return self.name.partition("-")[0] if self.name.startswith("_") else self.name

    @property
    def needs_facts(self) -> bool:
        """True when a source's name alone does not tell whether the recipe is for it."""
        return self.sizes != (0, None) or bool(self.content_types)

    @property
    def wants_focal(self) -> bool:
        """True when some crop follows the source's focal point."""
        return any("focal" in (step["params"].get("gravity") or ()) for step in self._all_steps())

    @property
    def needs_code(self) -> bool:
        """True when the recipe brings code of its own: its session must serve this one job."""
        return any(step["name"] == Code.name for step in self._all_steps())

    @property
    def assets(self) -> list[str]:
        """The names of the pictures and fonts that the session needs, sorted."""
        found = (step["params"].get(key) for step in self._all_steps() for key in TRANSFORMS[step["name"]].assets)
        return sorted({name for name in found if name})

    def _all_steps(self) -> list[Step]:
        return [*self.steps, *(step for rendition in self.renditions for step in rendition.steps)]

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
        return output_paths.fill(rendition.path, source_name, **known)

    def job(
        self,
        *,
        source: str,
        report: str,
        files: Mapping[str, str],
        limits: Limits,
        formats: Sequence[str],
        remove: Sequence[str] = (),
        assets: Mapping[str, str] | None = None,
        focal: tuple[float, float] | None = None,
    ) -> Job:
        """The job document for a session.

        `files` names the file of each rendition in the session's directory, `assets` those of the recipe's assets;
        `limits` are the settings', of which each gets as tight as the recipe has it; `focal` see `focal_point`.
        """
        tighter = {name: int(min(most, self.limits.get(name, most))) for name, most in limits.items()}  # type: ignore[call-overload]
        return Job(
            version=protocol.VERSION,
            source=source,
            report=report,
            remove=list(remove),
            formats=list(formats),
            limits=cast("Limits", tighter),
            assets=dict(assets or {}),
            focal=list(focal) if focal else None,
            on_truncated=self.on_truncated,
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

    def revisions(self) -> dict[str, int]:
        """Return the revisions of the engine's parts that make the renditions, by kind and name (`transform crop`).

        Decoders are not among them: the ledger keeps the decoder's revision for each source.
        """
        names = {*ALWAYS, *(step["name"] for step in self._all_steps())}
        ours = {"common": COMMON, **{f"transform {name}": TRANSFORMS[name].revision for name in names}}
        return ours | {part: revision for each in self.renditions for part, revision in each.revisions().items()}

    @cached_property
    def hash(self) -> str:
        """Identify the recipe version: 64 hexadecimal digits over all that decides the renditions of a given source.

        This is the normalized recipe and the revisions of the engine's parts that it uses. Comments, key order and
        spelled-out defaults change nothing, and neither do `match`, the engine's source text or Pillow's version.
        """
        document = {
            "revisions": self.revisions(),
            "name": self.name,
            "steps": self.steps,
            "on_truncated": self.on_truncated,
            "carry": self.carry,
            "renditions": [
                [each.name, each.format, each.options(), asdict(each.output), each.steps, each.path, each.cache_control]
                for each in sorted(self.renditions, key=lambda rendition: rendition.name)
            ],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def focal_point(text: str | None) -> tuple[float, float] | None:
    """A focal point as blob metadata or index tags hold it, like "0.3,0.7" (from left, from top); None when it is none.

    What people typed into a tag must not stop a picture, so anything else counts as no focal point.
    """
    match = re.fullmatch(r"\s*([01]|[01]?\.\d+)\s*[,; ]\s*([01]|[01]?\.\d+)\s*", text or "")
    if not match:
        return None
    across, down = float(match[1]), float(match[2])
    return (across, down) if across <= 1 and down <= 1 else None


def _missing(name: str) -> Rendition:
    raise KeyError(name)
