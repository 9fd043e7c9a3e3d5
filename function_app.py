"""Triggers of the function app: bind, parse, call, respond. All logic is in `pipeline`."""

import os
from typing import TYPE_CHECKING

import azure.functions as func

from pipeline.api import routes
from pipeline.api.handlers import Route
from pipeline.api.routes import ROUTES
from pipeline.blob_binding import BlobReference
from pipeline.services import ServicesProvider
from pipeline.settings import BLOB_TRIGGER_POISON_QUEUE, CONNECTION

if TYPE_CHECKING:
    from pipeline.console.dispatch import Console

# Provisioning and rollbacks give older code newer settings: unknown ones are a warning here, an error elsewhere.
process = ServicesProvider(os.environ, ignore_unknown_settings=True)
settings = process.settings
app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.blob_trigger(
    arg_name="source",
    path=f"{settings.input_container}/{{name}}",
    connection=CONNECTION,
    source=func.BlobSource.EVENT_GRID,
)
async def image_uploaded(source: BlobReference) -> None:
    """Execute the jobs of a new or changed source."""
    await process.services().dispatcher.handle_blob(source.container, source.name)


@app.queue_trigger(arg_name="message", queue_name=settings.job_queue, connection=CONNECTION)
async def job_waiting(message: func.QueueMessage) -> None:
    """Execute the job of a queue message."""
    await process.services().dispatcher.handle_message(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=settings.run_queue, connection=CONNECTION)
async def run_waiting(message: func.QueueMessage) -> None:
    """Find the next jobs of a run, or execute one of its batches."""
    await process.services().run_worker.handle_message(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=settings.job_poison_queue, connection=CONNECTION)
async def job_undeliverable(message: func.QueueMessage) -> None:
    """Record a dead letter of the job queue as a failure."""
    await process.services().dead_letters.handle_job_message(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=settings.run_poison_queue, connection=CONNECTION)
async def run_undeliverable(message: func.QueueMessage) -> None:
    """Record the jobs of a dead letter of the run queue as failures."""
    await process.services().run_dead_letters.handle_message(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=BLOB_TRIGGER_POISON_QUEUE, connection=CONNECTION)
async def upload_undeliverable(message: func.QueueMessage) -> None:
    """Queue the jobs of a dead letter of the blob trigger, once."""
    await process.services().dead_letters.handle_blob_message(message.get_body())


@app.timer_trigger(arg_name="timer", schedule=settings.schedule, run_on_startup=False, use_monitor=True)
async def scheduled_run(timer: func.TimerRequest) -> None:
    """Start the scheduled run, which finds the jobs that no event has started."""
    await process.services().schedule.start()


@app.timer_trigger(arg_name="timer", schedule="45 */10 * * * *", run_on_startup=False, use_monitor=True)
async def apply_retention(timer: func.TimerRequest) -> None:
    """Store the active recipe versions, and delete old bookkeeping for some seconds."""
    services = process.services()
    await services.admission.pauses.ensure_version()
    await services.retention.apply()


@app.timer_trigger(arg_name="timer", schedule="30 */5 * * * *", run_on_startup=False, use_monitor=True)
async def recover_lost_messages(timer: func.TimerRequest) -> None:
    """Send the messages of jobs and runs again whose queue was deleted or emptied."""
    services = process.services()
    await services.admission.pauses.ensure_version()
    await services.lost_messages.recover()


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False, use_monitor=True)
async def requeue_dead_lettered_events(timer: func.TimerRequest) -> None:
    """Queue the jobs of uploads whose events Event Grid could not deliver."""
    services = process.services()
    await services.admission.pauses.ensure_version()
    await services.dead_lettered_events.requeue()


def serve(route: Route) -> None:
    """Register a function that serves a route, under the route's name."""

    @app.function_name(route.name)
    @app.route(route.path, methods=[*route.methods])
    async def answer(req: func.HttpRequest) -> func.HttpResponse:
        """Serve a request on the route."""
        return await routes.handle(route, process.services, req)


for each in ROUTES:
    serve(each)


def _console() -> "Console":
    """Return the console. Only its requests load the templates."""
    from pipeline.console.dispatch import console_of

    return console_of(process.services())


@app.route("console/{*page}", auth_level=func.AuthLevel.ANONYMOUS)
async def show_console(req: func.HttpRequest) -> func.HttpResponse:
    """Serve a page of the console. It authenticates by itself: browsers send no function key with a link."""
    return await _console().handle(req)


@app.route("console-reader", methods=[func.HttpMethod.GET, func.HttpMethod.POST])
async def console_reader(req: func.HttpRequest) -> func.HttpResponse:
    """Sign in to the console as a reader. The key of this function grants nothing else."""
    return await _console().sign_in(req, "read")


@app.route("console-operator", methods=[func.HttpMethod.GET, func.HttpMethod.POST])
async def console_operator(req: func.HttpRequest) -> func.HttpResponse:
    """Sign in to the console as an operator, who may change things."""
    return await _console().sign_in(req, "write")


@app.route("{*path}")
async def elsewhere(req: func.HttpRequest) -> func.HttpResponse:
    """Respond with 404 to every URL without a route; all other routes take precedence."""
    return await routes.handle_unknown(req)
