"""Tenants in runs: batches keep the jobs of a tenant together, and plans count the sessions that tenants need."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

from pipeline.jobs.isolation import session_label
from pipeline.recipes import Recipe
from pipeline.runs.model import Plan
from pipeline.runs.selection import Due
from pipeline.settings import Settings

# Jobs of one tenant in a batch. A larger batch would not end within its time.
MAX_TENANT_BATCH = 500


ROOT_TENANT = "tenant:folder:"
"""The label of the tenant of all sources without a folder."""


def tenant_of(recipe: Recipe, name: str) -> str:
    """Return the label of the sessions of a source's tenant; empty if the recipe does not separate tenants."""
    container = ""  # of all sources of runs, which is the input container
    return (session_label(recipe, container, name, {}, container) or "") if recipe.isolation == "tenant" else ""


def tenant_batch_size(settings: Settings) -> int:
    """Return the number of jobs of one tenant in a batch, which one session executes."""
    return min(settings.session_max_jobs, MAX_TENANT_BATCH)


def tenant_sessions(settings: Settings, tenants: Iterable[str]) -> int:
    """Return the number of sessions that the jobs of a page need, given the tenant of each job ("" for none)."""
    counts = Counter(tenant for tenant in tenants if tenant)
    return sum(ceil(count / tenant_batch_size(settings)) for count in counts.values())


def add_tenants(plan: Plan, jobs: Sequence[Due], settings: Settings) -> Plan:
    """Add the tenants of the jobs of another page, and the sessions that they need.

    The sources of a folder follow one another, so that only the last folder of a page is on the next one, too; sources
    without a folder may be on all pages.
    """
    tenants = [tenant_of(job.recipe, job.source.name) for job in sorted(jobs, key=lambda job: job.place)]
    of_page = [tenant for tenant in dict.fromkeys(tenants) if tenant]
    if not of_page or plan.selection.sample:
        return plan
    folders = [tenant for tenant in of_page if tenant != ROOT_TENANT]
    has_root = ROOT_TENANT in (*of_page, *plan.last_tenants)
    last = folders[-1:] or [tenant for tenant in plan.last_tenants if tenant != ROOT_TENANT]
    return plan.model_copy(
        update={
            "tenants": plan.tenants + sum(tenant not in plan.last_tenants for tenant in of_page),
            "tenant_sessions": plan.tenant_sessions + tenant_sessions(settings, tenants),
            "first_tenant": plan.first_tenant or next(iter(folders), ""),
            "last_tenants": [*last, *([ROOT_TENANT] if has_root else [])],
        }
    )


def merged_tenants(parts: Sequence[Plan]) -> dict[str, int]:
    """Return the counts of tenants and of their sessions of the parts of a plan, in the order of the names."""
    twice = max(0, sum(ROOT_TENANT in part.last_tenants for part in parts) - 1)
    last = ""
    for part in parts:
        twice += bool(part.first_tenant) and part.first_tenant == last
        last = next((tenant for tenant in part.last_tenants if tenant != ROOT_TENANT), last)
    return {
        "tenants": sum(part.tenants for part in parts) - twice,
        "tenant_sessions": sum(part.tenant_sessions for part in parts),
    }
