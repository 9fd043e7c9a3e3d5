"""Description of one endpoint: its handler, its parameters and its responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from pipeline.api.handlers import Handlers
from pipeline.api.http import Request, Response

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One endpoint. `responses` are documents or media types by status; `problems` are the statuses of problems."""

    name: str
    method: str
    path: str
    handler: Callable[[Handlers], Handler]
    summary: str
    responses: Mapping[int, type[BaseModel] | tuple[type[BaseModel] | str, ...]]
    problems: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the endpoint allows: GET implies HEAD."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)
