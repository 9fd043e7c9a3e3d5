"""Losses of sessions in this process: whether a loss counts against the image that ran alone in the session."""

import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0
MAX_UNCOUNTED_LOSSES = 5


class SessionLosses:
    """The sessions that this process lost within the last minute, with the sources that were in them.

    One image that kills its session loses only sessions in which it was. When sessions of other images are lost at the
    same time, the pool is more likely the cause. Other processes are not asked: a pool that replaces its sessions hits
    several in each process that has several.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty record. `clock` returns seconds."""
        self._clock = clock
        self._sessions: dict[str, tuple[float, set[str]]] = {}

    def record(self, session: str, source: str) -> None:
        """Record that a source lost a session, given by slot and generation."""
        now = self._clock()
        self._sessions = {
            name: lost for name, lost in self._sessions.items() if now - lost[0] <= WINDOW_SECONDS and name != session
        } | {session: (now, {source} | self._sessions.get(session, (now, set()))[1])}

    def counts(self, source: str, losses: int) -> bool:
        """Return whether the loss of a session counts against a source that ran alone there.

        `losses` is the number of losses of the source that did not count so far; after five, every loss counts.
        """
        now = self._clock()
        others = any(
            now - moment <= WINDOW_SECONDS and source not in sources for moment, sources in self._sessions.values()
        )
        return losses >= MAX_UNCOUNTED_LOSSES or not others
