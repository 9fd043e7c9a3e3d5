"""`python -m pipeline estimate`: how long so many images take in so many sessions, by simulation."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pipeline.cli.common import Json, console, counted, show_json, told, with_services
from pipeline.cli.recipes import settings as known_settings
from pipeline.runs.durations import Pool, Times, duration
from pipeline.runs.estimates import ASSUMED_TIMES, Measured
from pipeline.settings import CONNECTION

Ms = Annotated[float | None, typer.Option(min=0, help="Milliseconds; as measured in the last two days by default.")]


def command(
    images: Annotated[int, typer.Option(min=0, help="How many images.")],
    sessions: Annotated[int | None, typer.Option(min=1, help="How many sessions; the pool's by default.")] = None,
    recipe: Annotated[str, typer.Option(help="The recipe whose jobs were measured; all by default.")] = "",
    upload_ms: Ms = None,
    execution_ms: Ms = None,
    download_ms: Ms = None,
    seats: Annotated[int | None, typer.Option(min=1, help="Jobs under way at once in a session.")] = None,
    start_seconds: Annotated[float, typer.Option(min=0, help="How long a new session takes.")] = 4.0,
    as_json: Json = False,
) -> None:
    """Simulate a run, driven by the times that jobs took before; the options put others in their place."""
    with told():
        settings = known_settings()
    known = _measured()
    mean = known.of(recipe)
    overridden = any(each is not None for each in (upload_ms, execution_ms, download_ms))
    times = Times(
        mean.upload if upload_ms is None else upload_ms / 1000,
        mean.execution if execution_ms is None else execution_ms / 1000,
        mean.download if download_ms is None else download_ms / 1000,
        0.0 if overridden else mean.whole,
    )
    usual = Pool.of(settings, times)
    pool = Pool(sessions or usual.sessions, seats or usual.concurrency, start_seconds, settings.session_max_jobs)
    # More sessions get as many more processes.
    processes = known.processes * max(1.0, pool.sessions / settings.pool_max_sessions)
    seconds = duration(images, pool, times, settings.run_concurrency * processes)
    rate = images / seconds * 60 if seconds else 0.0
    told_times = {name: round(value * 1000, 1) for name, value in vars(times).items()}
    if as_json:
        show_json({"seconds": round(seconds, 1), "images_per_minute": round(rate, 1), "ms": told_times, **vars(pool)})
        return
    each_ms = ", ".join(f"{name} {value:g} ms" for name, value in told_times.items() if value)
    hours, rest = divmod(round(seconds), 3600)
    console.print(
        f"{counted(images, 'image')} in {counted(pool.sessions, 'session')}: {hours} h {rest // 60} min {rest % 60} s, "
        f"{rate:,.0f} images a minute\nper image: {each_ms}",
        highlight=False,
    )


def _measured() -> Measured:
    """What the ledger says, where there is one."""
    if not any(name == CONNECTION or name.startswith(f"{CONNECTION}__") for name in os.environ):
        return Measured({"": ASSUMED_TIMES}, 0)
    return with_services(lambda services: services.estimator.measured())
