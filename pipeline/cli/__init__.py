"""The command line: works against the embedded stack and Azure alike, with the settings of the function app."""

from __future__ import annotations

import typer

from pipeline.cli import doctor, estimate, jobs, pool, preview, recipes, run, runs, settings, trace
from pipeline.cli.common import console, counted, with_services
from pipeline.pool.drain import drain as end_sessions
from pipeline.recipes import reference
from pipeline.services import Services
from pipeline.storage.provisioning import create_all

app = typer.Typer(
    help="Images in, renditions out.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(recipes.app, name="recipes")
app.add_typer(runs.app, name="runs")
app.command("run")(run.command)
app.command("doctor")(doctor.command)
app.command("pool")(pool.command)
app.command("submit")(jobs.submit)
app.command("jobs")(jobs.list_jobs)
app.command("job")(jobs.show_job)
app.command("failures")(jobs.failures)
app.command("retry")(jobs.retry)
app.command("dismiss")(jobs.dismiss)
app.command("plan")(runs.plan)
app.command("reprocess")(runs.reprocess)
app.command("prune")(runs.prune)
app.command("estimate")(estimate.command)
app.command("preview")(preview.command)
app.command("settings")(settings.command)
app.command("trace")(trace.command)


@app.command()
def init() -> None:
    """Make the containers, the queues and the tables, where they are not there yet."""

    async def make(services: Services) -> list[str]:
        return await create_all(services.account, services.settings)

    made = with_services(make)
    console.print(f"made {', '.join(made)}" if made else "everything is there already")


@app.command()
def drain() -> None:
    """End every session that no running process holds."""

    async def end(services: Services) -> int:
        return await end_sessions(services.settings, services.slot_documents, services.pool)

    console.print(f"{counted(with_services(end), 'session')} ended")


@app.command()
def transforms() -> None:
    """List the transforms with their parameters and examples."""
    typer.echo(reference.as_text())
