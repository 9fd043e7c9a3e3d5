"""Two timers. What happens is told through a queue, `%TOLD%`."""

import json
import os

import azure.functions as func
from azure.storage.queue import QueueClient

app = func.FunctionApp()


def tell(**fields: object) -> None:
    """Tell the test what happened, and in which process."""
    queue = QueueClient.from_connection_string(os.environ["IMAGES"], os.environ["TOLD"])
    queue.send_message(json.dumps({**fields, "pid": os.getpid()}))


@app.timer_trigger(arg_name="timer", schedule="%EVERY%", run_on_startup=False)
def often(timer: func.TimerRequest) -> None:
    tell(function="often", past_due=timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
async def yearly(timer: func.TimerRequest) -> None:
    tell(function="yearly", past_due=timer.past_due)
