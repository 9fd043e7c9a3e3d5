"""What a kind of failure means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.engine.errors import KINDS


@dataclass(frozen=True)
class Remediation:
    """A kind in words: `helps` says whether a retry may help without anything being changed first."""

    means: str
    do: str
    retry_may_help: bool = False


_SOURCE = "Upload a sound picture under the same name: it is done by itself. Dismiss those that are none."
_RECIPE = "Change the recipe, or leave these sources out with match.exclude; a changed recipe is done again by a run."
_SESSION = "Retry. If it comes back, the picture needs more memory or time than a session has: lower the limits."
_ABOUT = {"source": _SOURCE, "recipe": _RECIPE, "session": _SESSION}
_MORE = {
    "too_many_bytes": Remediation(
        "the source is larger than is allowed", "Raise PIPELINE_MAX_SOURCE_BYTES, then retry."
    ),
    "too_many_pixels": Remediation(
        KINDS["too_many_pixels"].meaning, "Raise PIPELINE_MAX_PIXELS, then retry, or dismiss."
    ),
    "too_many_frames": Remediation(
        KINDS["too_many_frames"].meaning, "Raise PIPELINE_MAX_FRAMES, then retry, or dismiss."
    ),
    "archived": Remediation("the source is in the archive tier", "Rehydrate it, then retry."),
    "bad_name": Remediation("a part of the source's name is . or ..", "Upload it under another name, then dismiss."),
    "immutable": Remediation(
        "a policy keeps the old rendition", "Change the policy, or the recipe's path, then retry."
    ),
    "own_rendition": Remediation(
        "the source is itself a rendition", "Dismiss; drop renditions elsewhere than sources."
    ),
    "output_conflict": Remediation(
        "another blob is where a rendition should go", "Change the recipe's path, or delete that blob, then retry."
    ),
    "bad_path": Remediation("the rendition's path cannot be a blob's name", "Change the recipe's path, then retry."),
    "asset_missing": Remediation(KINDS["asset_missing"].meaning, "Upload it to the assets container, then retry."),
    "execution_timeout": Remediation(
        "the run took too long",
        "Raise PIPELINE_EXECUTION_TIMEOUT, or make the recipe lighter, then retry.",
        retry_may_help=True,
    ),
    "job_timeout": Remediation("the job took too long", "Raise PIPELINE_JOB_TIMEOUT, then retry.", retry_may_help=True),
    "out_of_memory": Remediation(KINDS["out_of_memory"].meaning, "Lower PIPELINE_MAX_PIXELS, or use larger sessions."),
    "session_lost": Remediation("the session ended in the middle, twice", _SESSION, retry_may_help=True),
    "execution_interrupted": Remediation(
        "the session's process died in the middle, twice", _SESSION, retry_may_help=True
    ),
    "session_died": Remediation("the session's process died in the middle, twice", _SESSION, retry_may_help=True),
    "slot_lost": Remediation(
        "storage did not let us keep a session", "Wait until it answers, then retry.", retry_may_help=True
    ),
    "pool_denied": Remediation(
        "the pool refused our identity",
        "Give it the role Azure ContainerApps Session Executor, then retry.",
        retry_may_help=True,
    ),
    "pool_unreachable": Remediation(
        "the pool did not answer", "Check PIPELINE_POOL_ENDPOINT, then retry.", retry_may_help=True
    ),
    "pool_unavailable": Remediation("the pool did not answer", "Wait until it does, then retry.", retry_may_help=True),
    "storage_unavailable": Remediation(
        "storage did not answer", "Wait until it does, then retry.", retry_may_help=True
    ),
    "internal": Remediation("a bug, or something that nobody foresaw", "See the log, then retry.", retry_may_help=True),
}


def remediation(kind: str) -> Remediation:
    """What to say about a kind, known or not."""
    if kind in _MORE:
        return _MORE[kind]
    known = KINDS.get(kind)
    if known is None:
        return Remediation(
            kind.replace("_", " "), "Open one to see its message, then retry or dismiss.", retry_may_help=True
        )
    return Remediation(known.meaning, _ABOUT[known.about], retry_may_help=known.about == "session")
