"""Compiled recipes, as the rest of the pipeline uses them: immutable, with a hash for the recipe version."""

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
from pipeline.engine.revisions import COMMON, gravity_revisions
from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import ALWAYS, TRANSFORMS
from pipeline.recipes import globs, output_paths
from pipeline.recipes.regular_languages import NAMES, Node, both, difference, either


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
        """Return the name of the format in recipes: jpeg, png, … or auto, keep."""
        return self.encoder.name

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the possible formats of the result: one, or several for auto and keep."""
        if isinstance(self.encoder, Auto):
            return tuple(self.encoder.among)
        return tuple(ENCODED_FORMATS) if self.encoder.decided_late else (self.format,)

    @property
    def extension(self) -> str:
        """Return the usual extension of the format, without the dot; empty for auto and keep."""
        return self.encoder.extension

    @property
    def extensions(self) -> list[str]:
        """Return the possible extensions of the result."""
        return [FORMATS[name].extension for name in self.formats]

    def content_type_of(self, report: RenditionReport) -> str:
        """Return the media type of a rendered result."""
        return FORMATS[report["format"]].content_type

    @property
    def content_types(self) -> list[str]:
        """Return the possible media types of the result."""
        return [FORMATS[name].content_type for name in self.formats]

    @property
    def path_known(self) -> bool:
        """Return True if the output path does not depend on the result."""
        late = set(output_paths.AFTER) | ({"ext"} if self.encoder.decided_late else set())
        return not late & set(output_paths.fields(self.path))

    def options(self) -> dict[str, object]:
        """Return all options of the format."""
        return asdict(self.encoder)

    def revisions(self) -> dict[str, int]:
        """Return the revisions of the encoders that may write the rendition, and of the options that it sets."""
        return {
            **{f"encoder {name}": FORMATS[name].revision for name in (self.format, *self.formats)},
            **{f"option {name}": Output.revisions[name] for name in self.chosen()},
        }

    def chosen(self) -> dict[str, object]:
        """Return the options of `Output` that differ from their defaults: a new option changes no hash."""
        defaults = asdict(Output())
        return {name: value for name, value in asdict(self.output).items() if value != defaults[name]}


@dataclass(frozen=True)
class Recipe:
    """A recipe: match rules, transforms and renditions.

    Attributes:
        name: The name, unique in the file.
        include: Globs of source names; empty for a recipe that only requests name.
        exclude: Globs of source names that the recipe does not match.
        steps: The transforms that all renditions share.
        renditions: The outputs.
        sizes: The least and the largest size of a source in bytes; None for no maximum.
        content_types: Globs of the source's content type; empty for any.
        exclusive: Uploads that match are not matched against later recipes.
        isolation: The jobs that may share a session: "shared", "trusted", "tenant" or "single". User code is always
            "single". "trusted" applies to uploads only, not to images of requests.
        on_truncated: The handling of truncated files: "fail" or "patch".
        hdr: The handling of sources in PQ or HLG: "tone_map" or "refuse".
        limits: Limits that are tighter than those of the settings, also `max_source_bytes` and `max_seconds`.
        carry: Names of the source blob's metadata that renditions keep.
        description: A description for readers.
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
    hdr: str = "tone_map"
    limits: dict[str, float] = field(default_factory=dict)
    carry: tuple[str, ...] = ()
    description: str = ""

    def matches(self, source_name: str, *, size: int | None = None, content_type: str | None = None) -> bool:
        """Return True if the recipe matches an uploaded source. Rules on a property that is None count as met."""
        name = source_name.lower()
        if size is not None and not self.sizes[0] <= size <= (self.sizes[1] or size):
            return False
        if content_type is not None and self.content_types:
            media_type = content_type.partition(";")[0].strip().lower()
            if not any(globs.compiled(glob).fullmatch(media_type) for glob in self.content_types):
                return False
        return any(globs.compiled(glob).fullmatch(name) for glob in self.include) and not any(
            globs.compiled(glob).fullmatch(name) for glob in self.exclude
        )

    def sources(self) -> Node:
        """Return the set of source names that the recipe matches; all names for a recipe that only requests name."""
        if not self.include:
            return NAMES
        included = both([NAMES, either([globs.language(glob) for glob in self.include])])
        return difference(included, either([globs.language(glob) for glob in self.exclude]))

    @property
    def family(self) -> str:
        """Return the name for metrics and fair scheduling: all ad-hoc recipes share one."""
        return self.name.partition("-")[0] if self.name.startswith("_") else self.name

    @property
    def matches_on_properties(self) -> bool:
        """Return True if a match depends on more than the name of the source: its size or content type."""
        return self.sizes != (0, None) or bool(self.content_types)

    @property
    def needs_focal_point(self) -> bool:
        """Return True if a crop uses the focal point of the source."""
        return any("focal" in (step["params"].get("gravity") or ()) for step in self._all_steps())

    @property
    def has_code(self) -> bool:
        """Return True if the recipe has user code: its session must serve this job alone."""
        return any(step["name"] == Code.name for step in self._all_steps())

    @property
    def assets(self) -> list[str]:
        """Return the sorted names of the images and fonts that the session needs."""
        names = (step["params"].get(key) for step in self._all_steps() for key in TRANSFORMS[step["name"]].assets)
        return sorted({name for name in names if name})

    def _all_steps(self) -> list[Step]:
        return [*self.steps, *(step for rendition in self.renditions for step in rendition.steps)]

    def output_path(self, rendition: Rendition, source_name: str, report: RenditionReport | None = None) -> str:
        """Return the output path of a rendition for a source: a safe blob name.

        `report` describes the result. Without it, a pattern that depends on the result raises ValueError; see
        `Rendition.path_known`.
        """
        known = {"recipe": self.name, "rendition": rendition.name, "ext": rendition.extension}
        if report is not None:
            known |= {"ext": FORMATS[report["format"]].extension, "hash": report["sha256"][:16]}
            known |= {"width": str(report["width"]), "height": str(report["height"])}
        elif not rendition.path_known:
            raise ValueError(f"the path of rendition {rendition.name} depends on the result: {rendition.path}")
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
        """Return the job document for a session.

        Args:
            source: The file of the source in the session.
            report: The file for the session's report.
            files: The file of each rendition.
            limits: The limits of the settings; tighter limits of the recipe replace them.
            formats: The allowed formats of sources.
            remove: Files of earlier jobs to delete.
            assets: The file of each asset.
            focal: The focal point of the source; see `focal_point`.
        """
        tighter = {name: int(min(limit, self.limits.get(name, limit))) for name, limit in limits.items()}  # type: ignore[call-overload]
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
            hdr=self.hdr,
            transforms=list(self.steps),
            renditions=[
                RenditionJob(
                    name=each.name,
                    file=files[each.name],
                    format=each.format,
                    options=each.options(),
                    transforms=list(each.steps),
                    output=asdict(each.output),
                )
                for each in self.renditions
            ],
        )

    def revisions(self) -> dict[str, int]:
        """Return the revisions of the engine's parts that make the renditions, by kind and name (`transform crop`).

        Decoders are not among them: the ledger keeps the decoder's revision for each source.
        """
        names = {*ALWAYS, *(step["name"] for step in self._all_steps())}
        ours = {"common": COMMON, **{f"transform {name}": TRANSFORMS[name].revision for name in names}}
        for step in self._all_steps():
            ours |= gravity_revisions(step["params"].get("gravity"))
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
                [each.name, each.format, each.options(), each.chosen(), each.steps, each.path, each.cache_control]
                for each in sorted(self.renditions, key=lambda rendition: rendition.name)
            ],
        }
        if self.hdr != "tone_map":
            document["hdr"] = self.hdr
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def focal_point(text: str | None) -> tuple[float, float] | None:
    """Parse a focal point from blob metadata or index tags: "0.3,0.7" is 30 % from the left, 70 % from the top.

    Returns None for any other text, because a typing error in a tag must not fail a job.
    """
    match = re.fullmatch(r"\s*([01]|[01]?\.\d+)\s*[,; ]\s*([01]|[01]?\.\d+)\s*", text or "")
    if not match:
        return None
    x, y = float(match[1]), float(match[2])
    return (x, y) if x <= 1 and y <= 1 else None
