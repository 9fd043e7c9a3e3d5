"""The triggers: bind, parse, call, answer. Everything else is in `pipeline`."""

import os

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

from pipeline import runs
from pipeline.api import http_trigger, idempotency
from pipeline.api.route import Route
from pipeline.api.routes import TABLE
from pipeline.console.routes import Console
from pipeline.jobs import dead_letters, dispatch
from pipeline.runs import dead_letters as run_dead_letters
from pipeline.services import ServicesProvider
from pipeline.settings import CONNECTION

# Provisioning and rollbacks give older code newer settings: unknown ones are a warning here, an error elsewhere.
process = ServicesProvider(os.environ, ignore_unknown_settings=True)
settings = process.settings
console = Console()
app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.blob_trigger(
    arg_name="source",
    path=f"{settings.input_container}/{{name}}",
    connection=CONNECTION,
    source=func.BlobSource.EVENT_GRID,
)
async def image_dropped(source: blob.BlobClient) -> None:
    """A source is new or has changed. The binding is used for its name alone: our own clients read the data."""
    await dispatch.handle_blob(process.services(), source.container_name, source.blob_name)


@app.queue_trigger(arg_name="message", queue_name=settings.job_queue, connection=CONNECTION)
async def job_waiting(message: func.QueueMessage) -> None:
    """A job's turn has come: another attempt, or a free session."""
    await dispatch.handle_message(process.services(), message.get_body())


@app.queue_trigger(arg_name="message", queue_name=settings.run_queue, connection=CONNECTION)
async def run_waiting(message: func.QueueMessage) -> None:
    """A piece of a run: finding its jobs, or doing a batch of them."""
    await runs.handle_message(process.services(), message.get_body())


@app.queue_trigger(
    arg_name="message", queue_name=settings.job_queue + dead_letters.POISON_QUEUE_SUFFIX, connection=CONNECTION
)
async def job_undeliverable(message: func.QueueMessage) -> None:
    """A job that the platform gave up delivering becomes a failure."""
    await dead_letters.handle_job_message(process.services(), message.get_body())


@app.queue_trigger(
    arg_name="message", queue_name=settings.run_queue + dead_letters.POISON_QUEUE_SUFFIX, connection=CONNECTION
)
async def run_undeliverable(message: func.QueueMessage) -> None:
    """So do the jobs of a piece of a run."""
    await run_dead_letters.handle_run_message(process.services(), message.get_body())


@app.queue_trigger(arg_name="message", queue_name=dead_letters.BLOB_TRIGGER_POISON_QUEUE, connection=CONNECTION)
async def drop_undeliverable(message: func.QueueMessage) -> None:
    """So do those of a source that was dropped."""
    await dead_letters.handle_blob_message(process.services(), message.get_body())


@app.timer_trigger(arg_name="timer", schedule=settings.schedule, run_on_startup=False, use_monitor=True)
async def scheduled_run(timer: func.TimerRequest) -> None:
    """Start the scheduled run, which finds the jobs that nothing brought in, and forget what has had its time."""
    await runs.start_scheduled(process.services())
    await idempotency.delete_expired(process.services())
    await runs.apply_retention(process.services())


def serve(route: Route) -> None:
    """Answer the requests on a route with a function of its name."""

    @app.function_name(route.name)
    @app.route(route.path, methods=[*route.methods])
    async def answer(req: func.HttpRequest) -> func.HttpResponse:
        return await http_trigger.handle(route, process.services, req)


for each in TABLE:
    serve(each)


@app.route("console/{*page}", auth_level=func.AuthLevel.ANONYMOUS)
async def show_console(req: func.HttpRequest) -> func.HttpResponse:
    """A page of the console, which looks for itself who asks: a browser sends no function key with a link."""
    return await console.answer(process.services(), req)


@app.route("console-reader", methods=[func.HttpMethod.GET, func.HttpMethod.POST])
async def console_reader(req: func.HttpRequest) -> func.HttpResponse:
    """Sign in to the console, to look. This function's key opens this door alone."""
    return await console.admit(process.services(), req, "read")


@app.route("console-operator", methods=[func.HttpMethod.GET, func.HttpMethod.POST])
async def console_operator(req: func.HttpRequest) -> func.HttpResponse:
    """Sign in to the console, to change things too."""
    return await console.admit(process.services(), req, "write")


@app.route("{*path}")
async def elsewhere(req: func.HttpRequest) -> func.HttpResponse:
    """Say that there is nothing here. Every other route goes before this one."""
    return await http_trigger.handle_unknown(req)
