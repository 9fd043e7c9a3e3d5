"""Command `estimate`: estimate the duration of a bulk run without sources."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pipeline.cli.common import Json, console, counted, errors_shown, show_json, with_services
from pipeline.cli.recipes import settings as load_settings
from pipeline.runs.estimates import ASSUMED_TIMES, Measured, Pool, Times, duration
from pipeline.settings import CONNECTION

Ms = Annotated[float | None, typer.Option(min=0, help="Milliseconds per job. Default: the measured mean of 2 days.")]


def command(
    images: Annotated[int, typer.Option(min=0, help="Number of images.")],
    sessions: Annotated[int | None, typer.Option(min=1, help="Number of sessions. Default: the whole pool.")] = None,
    recipe: Annotated[str, typer.Option(help="Use the measured jobs of this recipe. Default: all recipes.")] = "",
    upload_ms: Ms = None,
    execution_ms: Ms = None,
    download_ms: Ms = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Concurrent jobs per session.")] = None,
    start_seconds: Annotated[float, typer.Option(min=0, help="Start time of a session in seconds.")] = 4.0,
    as_json: Json = False,
) -> None:
    """Estimate the duration of a bulk run from measured job times.

    Options replace measured times. Without a storage account in the settings, typical times are assumed.
    """
    with errors_shown():
        settings = load_settings()
    measured = _measured()
    mean = measured.of(recipe)
    options = {"upload": upload_ms, "execution": execution_ms, "download": download_ms}
    replaced = {name: ms / 1000 for name, ms in options.items() if ms is not None}
    times = Times(**{**vars(mean), **replaced, **({"whole": 0.0} if replaced else {})})
    default = Pool.of(settings, times)
    pool = Pool(
        sessions or default.sessions, concurrency or default.concurrency, start_seconds, settings.session_max_jobs
    )
    # The number of processes grows with the number of sessions.
    processes = measured.processes * max(1.0, pool.sessions / settings.pool_max_sessions)
    seconds = duration(images, pool, times, settings.run_concurrency * processes)
    rate = images / seconds * 60 if seconds else 0.0
    ms = {name: round(value * 1000, 1) for name, value in vars(times).items()}
    if as_json:
        show_json({"seconds": round(seconds, 1), "images_per_minute": round(rate, 1), "ms": ms, **vars(pool)})
        return
    hours, rest = divmod(round(seconds), 3600)
    per_image = ", ".join(f"{name} {value:g} ms" for name, value in ms.items() if value)
    console.print(
        f"{counted(images, 'image')} in {counted(pool.sessions, 'session')}: {hours} h {rest // 60} min {rest % 60} s, "
        f"{rate:,.0f} images per minute\nper image: {per_image}"
    )


def _measured() -> Measured:
    """Return the job times of the ledger, or assumed times without a storage account."""
    if not any(name.partition("__")[0] == CONNECTION for name in os.environ):
        return Measured({"": ASSUMED_TIMES}, 0)
    return with_services(lambda services: services.estimator.measured())
