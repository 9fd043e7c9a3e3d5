"""Remediation hints: the meaning of each kind of failure, and its remedy."""

from dataclasses import dataclass

_SOURCE = (
    "Re-upload a valid image under the same name; it is processed automatically. Dismiss files that are not images."
)
_RECIPE = (
    "Change the recipe, or exclude these sources with match.exclude. "
    "A run processes the sources of a changed recipe again."
)
_SESSION = "Retry. If the failure repeats, the image needs more memory or time than a session has: lower the limits."


@dataclass(frozen=True)
class Remediation:
    """Meaning and remedy of a kind of failure.

    Attributes:
        singular: The meaning as a sentence about one job, its source or its rendition.
        plural: The rest of that sentence about several, after their number.
        action: The remedy.
        retry_may_help: True if a retry may succeed without a change before it.
    """

    singular: str
    plural: str
    action: str
    retry_may_help: bool = False

    def title(self, count: int) -> str:
        """Return the meaning with the number of failures: `2 files are not images`."""
        return f"1 {self.singular}" if count == 1 else f"{count:,} {self.plural}"


REMEDIATIONS: dict[str, Remediation] = {
    # -- the source ---------------------------------------------------------------------------------------------------
    "empty_source": Remediation("file is empty", "files are empty", _SOURCE),
    "not_an_image": Remediation("file is not an image", "files are not images", _SOURCE),
    "format_not_allowed": Remediation(
        "file has a format that is not allowed", "files have a format that is not allowed", _SOURCE
    ),
    "unsupported_variant": Remediation(
        "file is a variant of its format that is not supported",
        "files are variants of their formats that are not supported",
        "Convert it as its message says, and upload it under the same name; it is processed automatically.",
    ),
    "damaged_image": Remediation("image is incomplete or damaged", "images are incomplete or damaged", _SOURCE),
    "animation_rejected": Remediation(
        "image is animated, and the recipe rejects animations",
        "images are animated, and the recipe rejects animations",
        _SOURCE,
    ),
    "too_many_bytes": Remediation(
        "source has too many bytes", "sources have too many bytes", "Raise PIPELINE_MAX_SOURCE_BYTES, then retry."
    ),
    "too_many_pixels": Remediation(
        "image has too many pixels (width × height × frames)",
        "images have too many pixels (width × height × frames)",
        "Raise PIPELINE_MAX_PIXELS, then retry, or dismiss.",
    ),
    "too_many_frames": Remediation(
        "image has too many frames or pages",
        "images have too many frames or pages",
        "Raise PIPELINE_MAX_FRAMES, then retry, or dismiss.",
    ),
    "archived": Remediation(
        "source is in the archive tier", "sources are in the archive tier", "Rehydrate it, then retry."
    ),
    "bad_name": Remediation(
        "source's name has a control character, or the part . or ..",
        "sources' names have a control character, or the part . or ..",
        "Upload it under another name, then dismiss.",
    ),
    "own_rendition": Remediation(
        "source is itself a rendition",
        "sources are themselves renditions",
        "Dismiss. Upload renditions to another container than sources.",
    ),
    # -- the recipe ---------------------------------------------------------------------------------------------------
    "crop_outside": Remediation("crop box is not within the image", "crop boxes are not within their images", _RECIPE),
    "frame_missing": Remediation(
        "image lacks the frame or page that the recipe selects",
        "images lack the frame or page that the recipe selects",
        _RECIPE,
    ),
    "unsupported_here": Remediation(
        "job needs a format that the session's Pillow does not support",
        "jobs need a format that the session's Pillow does not support",
        _RECIPE,
    ),
    "rendition_too_large": Remediation(
        "rendition would exceed the limit of pixels or bytes",
        "renditions would exceed the limit of pixels or bytes",
        _RECIPE,
    ),
    "max_bytes_impossible": Remediation(
        "rendition exceeds max_bytes at every quality", "renditions exceed max_bytes at every quality", _RECIPE
    ),
    "asset_missing": Remediation(
        "job needs an image or font that is missing",
        "jobs need an image or font that is missing",
        "Upload it to the assets container, then retry.",
    ),
    "asset_unusable": Remediation(
        "job needs an image or font that is unreadable", "jobs need an image or font that is unreadable", _RECIPE
    ),
    "transform_failed": Remediation("transform failed", "transforms failed", _RECIPE),
    "code_failed": Remediation("job failed in the recipe's own code", "jobs failed in the recipe's own code", _RECIPE),
    "encode_failed": Remediation("rendition could not be encoded", "renditions could not be encoded", _RECIPE),
    "bad_job": Remediation("job document does not fit the engine", "job documents do not fit the engine", _RECIPE),
    "bad_path": Remediation(
        "rendition path is not a valid blob name",
        "rendition paths are not valid blob names",
        "Change the recipe's path, then retry.",
    ),
    "output_conflict": Remediation(
        "rendition path is taken by another blob",
        "rendition paths are taken by other blobs",
        "Change the recipe's path, or delete that blob, then retry.",
    ),
    "immutable": Remediation(
        "rendition is protected by an immutability policy",
        "renditions are protected by an immutability policy",
        "Change the policy, or the recipe's path, then retry.",
    ),
    # -- the session and the services ---------------------------------------------------------------------------------
    "execution_timeout": Remediation(
        "execution took too long",
        "executions took too long",
        "Raise PIPELINE_EXECUTION_TIMEOUT, or simplify the recipe, then retry.",
        retry_may_help=True,
    ),
    "job_timeout": Remediation(
        "job took too long", "jobs took too long", "Raise PIPELINE_JOB_TIMEOUT, then retry.", retry_may_help=True
    ),
    "out_of_memory": Remediation(
        "session ran out of memory", "sessions ran out of memory", "Lower PIPELINE_MAX_PIXELS, or use larger sessions."
    ),
    "session_lost": Remediation(
        "job lost its session twice", "jobs lost their session twice", _SESSION, retry_may_help=True
    ),
    "execution_interrupted": Remediation(
        "execution was interrupted twice", "executions were interrupted twice", _SESSION, retry_may_help=True
    ),
    "session_died": Remediation(
        "session process died twice during the job",
        "session processes died twice during a job",
        _SESSION,
        retry_may_help=True,
    ),
    "session_tainted": Remediation(
        "session contained foreign files or code",
        "sessions contained foreign files or code",
        _SESSION,
        retry_may_help=True,
    ),
    "source_missing": Remediation(
        "source was missing in its session", "sources were missing in their session", _SESSION, retry_may_help=True
    ),
    "engine_failed": Remediation(
        "job failed by a bug of the engine", "jobs failed by a bug of the engine", _SESSION, retry_may_help=True
    ),
    "slot_lost": Remediation(
        "job lost its slot because storage did not respond",
        "jobs lost their slot because storage did not respond",
        "Wait until storage responds, then retry.",
        retry_may_help=True,
    ),
    "pool_denied": Remediation(
        "job failed because the pool rejected the app's identity",
        "jobs failed because the pool rejected the app's identity",
        "Assign the role Azure ContainerApps Session Executor to it, then retry.",
        retry_may_help=True,
    ),
    "pool_unreachable": Remediation(
        "job failed because the pool was unreachable",
        "jobs failed because the pool was unreachable",
        "Check PIPELINE_POOL_ENDPOINT, then retry.",
        retry_may_help=True,
    ),
    "pool_unavailable": Remediation(
        "job failed because the pool did not respond",
        "jobs failed because the pool did not respond",
        "Wait until it responds, then retry.",
        retry_may_help=True,
    ),
    "storage_unavailable": Remediation(
        "job failed because storage did not respond",
        "jobs failed because storage did not respond",
        "Wait until it responds, then retry.",
        retry_may_help=True,
    ),
    "storage_not_found": Remediation(
        "job failed because a container, queue or table was missing",
        "jobs failed because a container, queue or table was missing",
        "Create it with image-pipeline init, then retry.",
        retry_may_help=True,
    ),
    "blob_leased": Remediation(
        "job failed because another program holds a lease on the blob",
        "jobs failed because another program holds a lease on their blob",
        "Let that program release the lease, then retry.",
        retry_may_help=True,
    ),
    "customer_key": Remediation(
        "source is encrypted with a customer-provided key",
        "sources are encrypted with a customer-provided key",
        "Store it without such a key, then retry.",
        retry_may_help=True,
    ),
    "internal": Remediation(
        "job failed by a bug", "jobs failed by a bug", "Read the log, then retry.", retry_may_help=True
    ),
}


def remediation(kind: str) -> Remediation:
    """Return the remediation of a kind of failure; a general one for an unknown kind."""
    action = "Open a job to read its message, then retry or dismiss it."
    name = kind.replace("_", " ")
    return REMEDIATIONS.get(kind) or Remediation(f"failure: {name}", f"failures: {name}", action, retry_may_help=True)
