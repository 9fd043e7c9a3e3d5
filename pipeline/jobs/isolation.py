"""Isolation of jobs in sessions: the label of the sessions that a job may use, by its recipe and its tenant.

A session serves jobs of one label only. The tenant of a source is

- its top-level folder in the input container; all sources without a folder share one tenant,
- for an image that came with a request, the tenant that the request names. Tenants of requests and folders of the same
  name are different tenants. Without one, its job shares a session with no other.
"""

import re
from collections.abc import Mapping
from typing import Final

from pipeline.errors import RequestError
from pipeline.pool.slot import SHARED, TRUSTED
from pipeline.recipes import Recipe

TENANT_METADATA_KEY: Final = "pipeline_tenant"
"""Metadata of an image that came with a request: the tenant that the request names."""
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

TENANT_JOBS_AT_ONCE: Final = 16
"""Jobs of one tenant that a batch of a run has in execution at once: as many as one session can use."""


def checked_tenant(text: str) -> str:
    """Return the tenant that a request names; empty if it names none. Raises RequestError if it is not valid."""
    if text and not TENANT.fullmatch(text):
        raise RequestError(
            "invalid tenant: use 1 to 64 letters, digits, dots, hyphens and underscores, with a letter or digit first"
        )
    return text


def folder_tenant(name: str) -> str:
    """Return the tenant of a source in the input container: its top-level folder; empty for a source without one."""
    folder, slash, _ = name.partition("/")
    return folder + slash if slash else ""


def session_label(
    recipe: Recipe, container: str, name: str, metadata: Mapping[str, str], input_container: str
) -> str | None:
    """Return the label of the sessions that a job may share; None for a session that serves this job alone.

    Trusted recipes share sessions for sources of the input container, each tenant has its own, the rest share.
    """
    uploaded = container == input_container
    if recipe.isolation == "single" or recipe.has_code:
        return None
    if recipe.isolation == "tenant":
        if uploaded:
            return f"tenant:folder:{folder_tenant(name)}"
        named = metadata.get(TENANT_METADATA_KEY, "")
        return f"tenant:request:{named}" if named else None
    return TRUSTED if recipe.isolation == "trusted" and uploaded else SHARED
