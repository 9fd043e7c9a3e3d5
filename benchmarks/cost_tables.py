"""Tables of docs/cost.md: estimates of the pipeline itself, at default prices and without measurements."""

from __future__ import annotations

from collections import Counter

from pipeline.runs.estimates import Estimate, Measured, estimate
from pipeline.settings import Settings

RENDITIONS = 3
# Images, sessions and PIPELINE_SESSION_MAX_JOBS of the worked examples.
EXAMPLES = (
    (1_000, 5, 200),
    (100_000, 20, 200),
    (100_000, 20, 8_000),
    (1_000_000, 100, 200),
    (1_000_000, 100, 8_000),
    (10_000_000, 200, 200),
    (10_000_000, 200, 8_000),
    (10_000_000, 600, 8_000),
)
# Isolation level, and sessions that the tenants need, for 100,000 images and 20 sessions.
LEVELS = (("trusted", None), ("shared", None), ("tenant", 1_000), ("tenant", 20_000), ("single", None))
_MONEY = " sessions | functions | storage | total |"
HEADS = (
    f"| images | sessions | `PIPELINE_SESSION_MAX_JOBS` | minutes | session-hours |{_MONEY}",
    f"| `isolation` | tenants | session-hours |{_MONEY}",
)


def run_estimate(
    images: int,
    sessions: int,
    session_max_jobs: int = 200,
    isolation: str = "shared",
    tenant_sessions: int | None = None,
) -> Estimate:
    """Estimate a run with three renditions per image."""
    settings = Settings(
        pool_endpoint="http://127.0.0.1:1", pool_max_sessions=sessions, session_max_jobs=session_max_jobs
    )
    jobs, renditions = Counter(web=images), Counter(web=RENDITIONS * images)
    return estimate(settings, jobs, renditions, Measured({}, 0), {"web": isolation}, tenant_sessions)


def tables() -> tuple[list[str], list[str]]:
    """Return the lines of both tables, without their heads."""
    examples, levels = [], []
    for images, sessions, jobs in EXAMPLES:
        taken = run_estimate(images, sessions, jobs)
        cells = [f"{images:,}", f"{sessions:,}", f"{jobs:,}", f"{taken.minutes:.1f}", f"{taken.session_hours:,}"]
        examples.append(_line([*cells, *_money(taken)]))
    for level, tenants in LEVELS:
        taken = run_estimate(100_000, 20, isolation=level, tenant_sessions=tenants)
        levels.append(
            _line([f"`{level}`", f"{tenants:,}" if tenants else "", f"{taken.session_hours:,}", *_money(taken)])
        )
    return examples, levels


def with_tables(page: str) -> str:
    """Return the page with the lines of both tables replaced."""
    for head, lines in zip(HEADS, tables(), strict=True):
        before, found, rest = page.partition(f"{head}\n")
        if not found:
            raise ValueError(f"docs/cost.md has no table with the head {head!r}")
        rule, _, rest = rest.partition("\n")
        while rest.startswith("|"):
            _, _, rest = rest.partition("\n")
        page = f"{before}{head}\n{rule}\n{''.join(lines)}{rest}"
    return page


def _money(taken: Estimate) -> list[str]:
    return [f"{taken.money[part]:.2f}" for part in ("sessions", "functions", "storage", "total")]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
