"""Recovery message: the delayed message of a job that this process executes at once, in case the process dies."""

from pipeline.storage import JobQueue, Message, Receipt


class RecoveryMessage:
    """A message in the job queue that brings a job back, unless the job ends first.

    It takes the place of the queue for the job's dispatcher: a job that cannot be done now waits with this message
    instead of another one, so that a job never has two.
    """

    def __init__(self, queue: JobQueue, receipt: Receipt) -> None:
        """Manage a message that is in the queue."""
        self._queue, self._receipt = queue, receipt
        self._is_needed = False

    @classmethod
    async def put(cls, queue: JobQueue, message: Message, delay: float) -> "RecoveryMessage":
        """Send the message of a job that is about to start, visible after `delay` seconds."""
        return cls(queue, await queue.send(message, delay))

    async def send(self, message: Message, delay: float = 0) -> Receipt:
        """Let the job wait: change the message and its delay.

        Another worker may have received the message. It then executes the job, or sends a message of its own.
        """
        self._is_needed = True
        self._receipt = await self._queue.replace(self._receipt, message, delay) or self._receipt
        return self._receipt

    async def discard(self) -> None:
        """Delete the message of a job that has ended, unless the job waits with it."""
        if not self._is_needed:
            await self._queue.delete(self._receipt)
