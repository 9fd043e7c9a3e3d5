"""One operation of the API: which function answers it, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel

from pipeline.api.http import Request, Response
from pipeline.services import Services

Handler = Callable[[Services, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One operation. `answers` are the documents or the media types by status, `refusals` the statuses of problems."""

    name: str
    method: str
    path: str
    handle: Handler
    summary: str
    answers: Mapping[int, type[BaseModel] | tuple[type[BaseModel] | str, ...]]
    refusals: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it answers: whatever can be got can be asked for without its body."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    @cached_property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return [part.strip("{}") for part in self.path.split("/") if part.startswith("{")]
