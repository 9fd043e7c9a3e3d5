"""Request to a page of the console, with its user, its query and its form."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import azure.functions as func

from pipeline.console import responses, templates
from pipeline.console.auth import Principal
from pipeline.errors import RequestError
from pipeline.jobs.pauses import PauseTimes

MAX_FORM_CHARACTERS = 64 * 1024
"""Limit for the fields of a form together."""
MAX_FORM_BYTES = 1024 * 1024
"""Limit for the encoded form."""


@dataclass(frozen=True)
class ConsoleRequest:
    """A request of an authenticated user.

    Attributes:
        http: The HTTP request.
        principal: The user.
        csrf_token: The token that the forms of the page must contain.
        parts: The variable parts of the path, by name.
        paused: The pauses of the installation, which every page shows.
        outdated: The reason why this instance starts nothing, which every page shows; empty if it may.
    """

    http: func.HttpRequest
    principal: Principal
    csrf_token: str
    parts: Mapping[str, str]
    paused: PauseTimes
    outdated: str = ""

    @property
    def path(self) -> str:
        """The path of the URL."""
        return str(urlsplit(self.http.url).path)

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the URL. The last one counts if a name occurs several times."""
        return dict(parse_qsl(urlsplit(self.http.url).query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of the form. The last one counts if a name occurs several times.

        The console's own pages rely on it: a hidden field before a checkbox holds the value of an empty one.
        Raises RequestError if the form is malformed or too long.
        """
        if len(self.http.get_body()) > MAX_FORM_BYTES:
            raise RequestError(f"the form has more than {MAX_FORM_BYTES:,} bytes", kind="body_too_large")
        try:
            fields = {str(name): str(value) for name, value in self.http.form.items(multi=True)}
        except ValueError as error:
            raise RequestError(f"the form cannot be read: {error}") from None
        if sum(len(name) + len(value) for name, value in fields.items()) > MAX_FORM_CHARACTERS:
            raise RequestError(f"the form has more than {MAX_FORM_CHARACTERS:,} characters: shorten its fields")
        return fields

    def render(self, template: str, status: int = 200, **context: Any) -> func.HttpResponse:  # noqa: ANN401
        """Return a page from a template."""
        html = templates.render(
            template,
            principal=self.principal,
            csrf_token=self.csrf_token,
            path=self.path,
            query=self.query,
            paused=self.paused,
            outdated=self.outdated,
            **context,
        )
        return responses.page(html, status)


Handler = Callable[[ConsoleRequest], Awaitable[func.HttpResponse]]
