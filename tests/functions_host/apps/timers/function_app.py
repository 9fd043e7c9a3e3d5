"""An app with two timers. The functions send reports to the queue `%REPORTS%`."""

import json
import os

import azure.functions as func
from azure.storage.queue import QueueClient

app = func.FunctionApp()


def report(**fields: object) -> None:
    """Send a report to the test, with the id of this process."""
    queue = QueueClient.from_connection_string(os.environ["IMAGES"], os.environ["REPORTS"])
    queue.send_message(json.dumps({**fields, "pid": os.getpid()}))


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", run_on_startup=False)
def scheduled(timer: func.TimerRequest) -> None:
    report(function="scheduled", past_due=timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
async def yearly(timer: func.TimerRequest) -> None:
    report(function="yearly", past_due=timer.past_due)
