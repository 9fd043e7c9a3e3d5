"""Run jobs inside a session, one after another. The order of steps is fixed and the same for all recipes.

    remove files of the last job → detect format → check limits → open → decode once → convert to sRGB → orient
    → shared transforms → for each rendition: its transforms → encode → verify → report → remove the source

Color conversion precedes orientation because rotating pixels does not change their colors. All coordinates of a recipe
refer to the image after both.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import pil, protocol
from ..base import Transform, TransformContext
from ..carried.find import find_carried
from ..decode import sniff
from ..decode.guard import pixel_limit
from ..decode.plan import forecast_size, min_decode_scale, rows_needed
from ..decode.source import Source, open_source, require_codec
from ..encode.encoder import EncodeRequest, encode_rendition
from ..encode.formats import FORMATS, Format, Keep
from ..encode.output import Output
from ..errors import EngineError
from ..image_view import ImageView
from ..protocol import Failure, Job, RenditionJob, RenditionReport, Report, SourceReport
from ..transforms import faces
from ..transforms.registry import FIRST, build_transforms
from ..transforms.select_frame import Frame
from ..transforms.to_srgb import ToSrgb
from .bundle import write_bundle
from .gain_map_plan import keeps_map, plan_gain_map
from .tamper_check import TamperCheck, adopt_orphans

if TYPE_CHECKING:
    from ..encode.gain_map import MapSource


def main(encoded_jobs: str, directory: str, key: str) -> None:
    """Run jobs and print their reports as the last line of standard output. Raise nothing.

    `encoded_jobs` is the result of `protocol.encode_jobs`, `directory` the session's directory, `key` the key of this
    execution's report line. An error of one job is in its report and does not affect the others.
    """
    place = Path(directory)
    file = None
    try:
        jobs = protocol.decode_jobs(encoded_jobs)
        reports = _execute_all(jobs, place)
        file = jobs[0]["report"]
    except Exception as error:  # noqa: BLE001 - the host must get a report for any document
        text = f"the job document is invalid: {type(error).__name__}: {error}"
        reports = [_report(_JobRecord(), [], Failure(kind="bad_job", message=text))]
    body = protocol.encode_reports(reports)
    if file and len(body) <= protocol.INLINE_REPORT_CHARACTERS:
        file = None
    if file:
        (place / file).write_bytes(body)
    sys.stdout.write(protocol.report_line(body, key, file) + "\n")
    sys.stdout.flush()


def _execute_all(jobs: list[Job], place: Path) -> list[Report]:
    """Run all jobs between two tamper checks. Run none when the session is tainted."""
    if place not in _tamper_checks:
        adopt_orphans()
        _tamper_checks[place] = TamperCheck(place)
    watch = _tamper_checks[place]
    found = watch.before_execution()
    if found:
        text = f"the session was tampered with: it has {found} that no job of the pipeline made"
        return [_report(_JobRecord(), [], Failure(kind="session_tainted", message=text)) for _ in jobs]
    reports = [execute_job(job, place) for job in jobs]
    file = jobs[0].get("pack")
    if file and _is_name(file):
        write_bundle(place / file, reports)
    reports[0]["tainted"] = watch.after_execution()
    return reports


def execute_job(job: Job, directory: Path) -> Report:
    """Run one job with its files in `directory`. On failure, report the reason and remove all renditions."""
    files = [rendition["file"] for rendition in job["renditions"]]
    record = _JobRecord()
    try:
        _check_names([job["source"], job["report"], *job["remove"], *files, *job.get("assets", {}).values()])
        _remove(directory, job["remove"])
        with pixel_limit(job["limits"]), record.hold, record.timed("total"):
            renditions = _make_renditions(job, directory, record)
        record.done = True
        return _report(record, renditions, None)
    except EngineError as refusal:
        failure = Failure(kind=refusal.kind, message=refusal.message)
    except MemoryError:
        failure = Failure(kind="out_of_memory", message="the session ran out of memory: lower PIPELINE_MAX_PIXELS")
    except Exception as error:  # noqa: BLE001 - the boundary of the session: nothing may be raised
        failure = Failure(kind="engine_failed", message=f"{type(error).__name__}: {error}")
    finally:
        # Only the report of a failed job names the format.
        found = "" if record.done else _source_format(directory, job["source"])
        _remove(directory, [job["source"]])
    failure["source_format"] = found
    _remove(directory, files)
    return _report(record, [], failure)


_tamper_checks: dict[Path, TamperCheck] = {}
"""One check for the session's directory, created at its first job."""


@dataclass
class _JobRecord:
    """Collect facts for the report, which also has them when the job fails."""

    source: SourceReport | None = None
    done: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    hold: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the duration of the block to the milliseconds of a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.ms[stage] = round(self.ms.get(stage, 0) + (time.perf_counter() - started) * 1000, 2)


@dataclass
class _RenditionPlan:
    """One rendition in progress: its steps and its finished frames."""

    job: RenditionJob
    steps: list[Transform]
    kind: Format
    output: Output
    animated: bool = False
    frames: list[pil.Image.Image] = field(default_factory=list)
    profile: bytes | None = None
    gain_map: MapSource | None = None
    ms: float = 0.0


def _make_renditions(job: Job, directory: Path, record: _JobRecord) -> list[RenditionReport]:
    """Make and write all renditions; larger ones first, because smaller ones can be made from them."""
    shared = build_transforms(job["transforms"])
    plans = [_plan_rendition(rendition) for rendition in job["renditions"]]
    index = next((step.index for step in shared if isinstance(step, Frame)), None)
    with record.timed("open"):
        source = record.hold.enter_context(
            open_source(directory / job["source"], job["formats"], job["limits"], index or 0)
        )
        source.information = find_carried(source.stream, source.format, source.image, source.index)
    record.source = source.report()
    if job.get("hdr") == "refuse":
        source.colors.refuse_hdr()
    count = _count_frames(source, plans) if index is None else 1
    chains = [[*shared, *plan.steps] for plan in plans]
    source.limit_rows(rows_needed(source.size, chains, FIRST))
    scale = max((min_decode_scale(source.size, chain) for chain in chains), default=1.0)
    colors = next((step for step in shared if isinstance(step, ToSrgb)), ToSrgb())
    keeping = {plan.job["name"] for plan in plans if keeps_map(plan.kind, plan.output, plan.steps, source.format)}
    hdr = plan_gain_map(source, colors, shared, keeping, job["limits"]["max_pixels"])
    frames = source.decode_frames(scale, hdr.colors, count, patch=job.get("on_truncated") == "patch")
    context, done = replace(_context(job, directory), animated=count > 1), {}
    for number in range(count):
        with record.timed("decode"):
            view = hdr.start(next(frames))
        own = replace(context)
        with record.timed("shared"):
            view = _apply(view, shared, own)
        for plan in sorted(plans, key=lambda plan: -math.prod(forecast_size(view.size, plan.steps))):
            started = time.perf_counter()
            if number == 0 or plan.animated:
                if plan.job["name"] in keeping:
                    plan.gain_map = hdr.part_for(shown := _apply(view, plan.steps, replace(own)))
                if plan.gain_map is None:
                    shown = _apply(hdr.in_srgb(view), plan.steps, replace(own))
                plan.frames.append(shown.read_pixels())
                plan.profile = hdr.profile_of(plan.gain_map)
            if number == (count - 1 if plan.animated else 0):
                done[plan.job["name"]] = _encode_and_write(plan, source, shared, job, directory, started)
            plan.ms += time.perf_counter() - started
    return [done[plan.job["name"]] for plan in plans]


def _plan_rendition(rendition: RenditionJob) -> _RenditionPlan:
    """Build the plan of a rendition.

    Raises:
        EngineError: this engine or this session does not know the format, an option or a transform.
    """
    kind = FORMATS.get(rendition["format"])
    if kind is None:
        raise EngineError("bad_job", f"this engine has no format {rendition['format']!r}")
    if not kind.decided_late:
        require_codec(kind.pillow, "write")
    try:
        options, output = kind(**rendition["options"]), Output(**rendition.get("output", {}))
    except TypeError as error:
        raise EngineError("bad_job", f"rendition {rendition['name']}: {error}") from error
    return _RenditionPlan(rendition, build_transforms(rendition["transforms"]), options, output)


def _count_frames(source: Source, plans: list[_RenditionPlan]) -> int:
    """Return the number of frames to decode: all of an animation when a rendition shows them, else 1.

    Raises:
        EngineError: a rendition rejects animations.
    """
    if not source.animated:
        return 1
    for plan in plans:
        if plan.output.animation == "reject":
            name = plan.job["name"]
            raise EngineError(
                "animation_rejected",
                f"the source is an animation of {source.frames} frames, which rendition {name} rejects",
            )
        kind = plan.kind.format_for(source.format) if isinstance(plan.kind, Keep) else plan.kind
        plan.animated = kind.animates and plan.output.animation == "keep"
    return source.frames if any(plan.animated for plan in plans) else 1


def _encode_and_write(
    plan: _RenditionPlan, source: Source, shared: list[Transform], job: Job, directory: Path, started: float
) -> RenditionReport:
    """Encode a rendition, write its file and return its report."""
    untouched = (
        all(step.name in PIXEL_PRESERVING for step in (*shared, *plan.steps)) and plan.frames[0].size == source.size
    )
    timing = source.timing if plan.animated else None
    made = encode_rendition(
        EncodeRequest(
            *(plan.job["name"], plan.frames, timing, plan.kind, plan.output, job["limits"]),
            untouched=untouched,
            profile=plan.profile,
            gain_map=plan.gain_map,
        ),
        source,
    )
    (directory / plan.job["file"]).write_bytes(made.body)
    plan.frames = []
    return RenditionReport(
        name=plan.job["name"],
        file=plan.job["file"],
        format=made.format,
        size=len(made.body),
        sha256=hashlib.sha256(made.body).hexdigest(),
        width=made.size[0],
        height=made.size[1],
        ms=round((plan.ms + time.perf_counter() - started) * 1000, 2),
        extra=made.extra,
        dropped=made.dropped,
    )


PIXEL_PRESERVING = frozenset({"auto_orient", "to_srgb", "resize"})
"""Transforms that change no pixel as long as the size stays the same."""


def _context(job: Job, directory: Path) -> TransformContext:
    """Build the context of the transforms from the job."""
    focal = job.get("focal")
    assets = {name: directory / file for name, file in job.get("assets", {}).items()}
    return TransformContext(job["limits"]["max_rendition_pixels"], (focal[0], focal[1]) if focal else None, assets)


def _apply(view: ImageView, steps: list[Transform], context: TransformContext) -> ImageView:
    """Apply all steps. An unexpected exception becomes an error that names the transform."""
    for step in steps:
        try:
            view = step.apply(view, context)
        except (EngineError, MemoryError):
            raise
        except Exception as error:
            raise EngineError(
                "transform_failed",
                f"{step.name} failed on this image ({type(error).__name__}: {error}): change its parameters",
            ) from error
    return view


def _report(record: _JobRecord, renditions: list[RenditionReport], failure: Failure | None) -> Report:
    """Build the report of one job."""
    if failure:
        failure["message"] = protocol.shorten_message(failure["message"])
    return Report(
        version=protocol.VERSION,
        versions=versions(),
        source=record.source,
        renditions=renditions,
        failure=failure,
        ms=record.ms,
    )


def versions() -> dict[str, str]:
    """Return the versions of Python, Pillow, codecs and face detector. The same versions make the same bytes."""
    return {**_codec_versions(), **faces.versions()}


@cache
def _codec_versions() -> dict[str, str]:
    """Ask Pillow for the versions once: it takes as long as reading the header of an image."""
    parts = {"pillow": "pil", **{name: name for name in ("libjpeg_turbo", "webp", "avif", "littlecms2")}}
    found = {part: pil.features.version(name) for part, name in parts.items()}
    return {"python": sys.version.split()[0], **{part: version for part, version in found.items() if version}}


def _check_names(names: list[str]) -> None:
    """Check that every file name is a plain name in the session's directory."""
    for name in names:
        if not _is_name(name):
            raise EngineError("bad_job", f"{name!r} is not a plain file name in the session's directory")


def _source_format(directory: Path, name: str) -> str:
    """Detect the format of the source by its first bytes; empty when the file or the format is unknown."""
    with suppress(OSError), (directory / name).open("rb") as stream:
        return sniff.detect_format(stream.read(sniff.HEAD_BYTES)) or ""
    return ""


def _is_name(name: str) -> bool:
    """Return True for a plain file name."""
    return bool(name) and name not in {".", ".."} and not set(name) & set("/\\\0")


def _remove(directory: Path, names: list[str]) -> None:
    """Delete files by name, and ignore missing ones."""
    for name in names:
        # _check_names reports an invalid name; it must not stop the cleanup.
        if _is_name(name):
            with suppress(OSError):
                (directory / name).unlink(missing_ok=True)
