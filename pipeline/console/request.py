"""One visit to a page: who asks, for what, and with what in the form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import azure.functions as func

from pipeline.console import responses, templates
from pipeline.console.auth import Principal
from pipeline.errors import RequestError
from pipeline.services import Services

FIELD_LIMIT = 64 * 1024
"""A form's text fields together, in bytes; files do not count."""


@dataclass(frozen=True)
class ConsoleRequest:
    """What a page is made for. `parts` are the variable parts of its address."""

    services: Services
    request: func.HttpRequest
    who: Principal
    token: str
    parts: Mapping[str, str]

    @cached_property
    def query(self) -> dict[str, str]:
        """The address's parameters; of several with one name the last."""
        return dict(parse_qsl(urlsplit(self.request.url).query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The form's fields; of several with one name the last. RequestError when they are unreadable or too long."""
        try:
            fields = {str(name): str(value) for name, value in self.request.form.items(multi=True)}
        except ValueError as error:
            raise RequestError(f"the form cannot be read: {error}") from None
        if sum(len(name) + len(value) for name, value in fields.items()) > FIELD_LIMIT:
            raise RequestError(f"the form's fields hold more than {FIELD_LIMIT:,} characters: shorten them")
        return fields

    def page(self, template: str, status: int = 200, **context: Any) -> func.HttpResponse:  # noqa: ANN401
        """A page out of a template."""
        path = urlsplit(self.request.url).path
        html = templates.render(template, who=self.who, token=self.token, path=path, query=self.query, **context)
        return responses.page(html, status)


Handler = Callable[[ConsoleRequest], Awaitable[func.HttpResponse]]
