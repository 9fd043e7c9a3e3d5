"""What a kind of failure means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.engine.errors import KINDS


@dataclass(frozen=True)
class Advice:
    """A kind in words: `helps` says whether a retry may help without anything being changed first."""

    means: str
    do: str
    helps: bool = False


_SOURCE = "Upload a sound picture under the same name: it is done by itself. Dismiss those that are none."
_RECIPE = "Change the recipe, or leave these sources out with match.exclude; a changed recipe is done again by a run."
_SESSION = "Retry. If it comes back, the picture needs more memory or time than a session has: lower the limits."
_ABOUT = {"source": _SOURCE, "recipe": _RECIPE, "session": _SESSION}
_MORE = {
    "too_many_bytes": Advice("the source is larger than is allowed", "Raise PIPELINE_MAX_SOURCE_BYTES, then retry."),
    "too_many_pixels": Advice(KINDS["too_many_pixels"].meaning, "Raise PIPELINE_MAX_PIXELS, then retry, or dismiss."),
    "too_many_frames": Advice(KINDS["too_many_frames"].meaning, "Raise PIPELINE_MAX_FRAMES, then retry, or dismiss."),
    "archived": Advice("the source is in the archive tier", "Rehydrate it, then retry."),
    "bad_name": Advice("a part of the source's name is . or ..", "Upload it under another name, then dismiss."),
    "immutable": Advice("a policy keeps the old rendition", "Change the policy, or the recipe's path, then retry."),
    "own_rendition": Advice("the source is itself a rendition", "Dismiss; drop renditions elsewhere than sources."),
    "output_conflict": Advice(
        "another blob is where a rendition should go", "Change the recipe's path, or delete that blob, then retry."
    ),
    "bad_path": Advice("the rendition's path cannot be a blob's name", "Change the recipe's path, then retry."),
    "asset_missing": Advice(KINDS["asset_missing"].meaning, "Upload it to the assets container, then retry."),
    "run_timeout": Advice(
        "the run took too long", "Raise PIPELINE_RUN_TIMEOUT, or make the recipe lighter, then retry.", helps=True
    ),
    "job_timeout": Advice("the job took too long", "Raise PIPELINE_JOB_TIMEOUT, then retry.", helps=True),
    "out_of_memory": Advice(KINDS["out_of_memory"].meaning, "Lower PIPELINE_MAX_PIXELS, or use larger sessions."),
    "session_lost": Advice("the session ended in the middle, twice", _SESSION, helps=True),
    "run_broke_off": Advice("the session's process died in the middle, twice", _SESSION, helps=True),
    "session_died": Advice("the session's process died in the middle, twice", _SESSION, helps=True),
    "slot_lost": Advice("storage did not let us keep a session", "Wait until it answers, then retry.", helps=True),
    "pool_denied": Advice(
        "the pool refused our identity",
        "Give it the role Azure ContainerApps Session Executor, then retry.",
        helps=True,
    ),
    "pool_unreachable": Advice("the pool did not answer", "Check PIPELINE_POOL_ENDPOINT, then retry.", helps=True),
    "pool_unavailable": Advice("the pool did not answer", "Wait until it does, then retry.", helps=True),
    "storage_unavailable": Advice("storage did not answer", "Wait until it does, then retry.", helps=True),
    "internal": Advice("a bug, or something that nobody foresaw", "See the log, then retry.", helps=True),
}


def advice(kind: str) -> Advice:
    """What to say about a kind, known or not."""
    if kind in _MORE:
        return _MORE[kind]
    known = KINDS.get(kind)
    if known is None:
        return Advice(kind.replace("_", " "), "Open one to see its message, then retry or dismiss.", helps=True)
    return Advice(known.meaning, _ABOUT[known.about], helps=known.about == "session")
