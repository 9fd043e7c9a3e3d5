"""HTTP handlers of pauses: stop and continue the start of jobs by the kind of work."""

from dataclasses import dataclass
from typing import Self

from pydantic import Field

from pipeline.api.http import Request, Response
from pipeline.jobs.pauses import WORK, Pauses, PauseTimes, Work
from pipeline.monitoring.admission import PauseOverview
from pipeline.monitoring.document import Document


class PauseRequest(Document):
    """The work to pause or to resume."""

    work: list[Work] = Field(default_factory=lambda: [*WORK], min_length=1, max_length=len(WORK))
    """Kinds of work; all of them by default."""


class PausesDocument(Document):
    """All pauses of the installation. Processes read them at most every 20 s."""

    pauses: list[PauseOverview]

    @classmethod
    def of(cls, times: PauseTimes) -> Self:
        """Describe all pauses."""
        return cls(pauses=PauseOverview.all_of(times))


@dataclass(frozen=True)
class PauseHandlers:
    """Handlers of pauses."""

    pauses: Pauses

    async def pause(self, request: Request) -> Response:
        """Handle `POST /api/pause`: start no more jobs of these kinds of work."""
        return Response(PausesDocument.of(await self.pauses.pause(request.json(PauseRequest).work)))

    async def resume(self, request: Request) -> Response:
        """Handle `POST /api/resume`: end pauses."""
        return Response(PausesDocument.of(await self.pauses.resume(request.json(PauseRequest).work)))
