"""Request context: the validated API version and identifier of a request, and the pool that serves it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from starlette.requests import Request

from session_pool_emulator.pool import Pool, PoolFullError
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.session import Session
from session_pool_emulator.settings import CapacityResponse
from session_pool_emulator.web.responses import ApiError, bad_request

_CAPACITY_STATUS = {CapacityResponse.ALLOCATION_500: 500, CapacityResponse.NOT_FOUND: 404}
_IDENTIFIER = re.compile(r"""[a-zA-Z0-9_|}{\[\]:"';<>?/.,@#$%^&*()\-+=!~`]{4,128}""")


class ApiVersion(IntEnum):
    """API version, ordered by age. The first two are the legacy family."""

    V2024_02 = 1
    V2024_08 = 2
    V2024_10 = 3
    V2025_02 = 4
    V2025_10 = 5

    @property
    def is_legacy(self) -> bool:
        """Whether bodies have a `properties` envelope and executions use the path `code/execute`."""
        return self < ApiVersion.V2024_10


API_VERSIONS = {
    "2024-02-02-preview": ApiVersion.V2024_02,
    "2024-08-02-preview": ApiVersion.V2024_08,
    "2024-10-02-preview": ApiVersion.V2024_10,
    "2025-02-02-preview": ApiVersion.V2025_02,
    "2025-10-02-preview": ApiVersion.V2025_10,
}


@dataclass(frozen=True)
class RequestContext:
    """Context of a request with a valid API version. `version_name` is the version as the client wrote it."""

    request: Request
    pool: Pool
    version: ApiVersion
    version_name: str

    @classmethod
    def create(
        cls, request: Request, *, since: ApiVersion = ApiVersion.V2024_02, until: ApiVersion = ApiVersion.V2025_10
    ) -> RequestContext:
        """Validate the API version of a request to an operation that exists from `since` to `until`.

        Raises:
            ApiError: 400 without a version or if the version lacks the operation, 401 with an empty body if the version
                is unknown.
        """
        name = request.query_params.get("api-version")
        if name is None:
            raise bad_request("The query parameter 'api-version' is missing.", target="api-version")
        version = API_VERSIONS.get(name.lower())
        if version is None:
            raise ApiError(401, None)
        if not since <= version <= until:
            message = f"{request.method} {request.url.path} is not an operation of api-version {name}."
            raise bad_request(message, target="api-version")
        return cls(request, request.app.state.pool, version, name)

    @property
    def identifier(self) -> str:
        """Identifier of the session.

        Raises:
            ApiError: 400 if the identifier is missing or invalid.
        """
        identifier = self.request.query_params.get("identifier", "")
        if not _IDENTIFIER.fullmatch(identifier):
            message = "The query parameter 'identifier' must be 4 to 128 letters, digits or common punctuation marks."
            raise bad_request(message, target="identifier")
        return identifier

    async def session(self) -> tuple[Session, bool]:
        """Return the session of the request, and whether this request allocated it.

        Raises:
            ApiError: The identifier is invalid, the pool is full, or the session did not start.
        """
        identifier = self.identifier
        try:
            return await self.pool.get_or_allocate(identifier)
        except PoolFullError:
            raise _capacity_error(self.pool, identifier) from None
        except SandboxError as error:
            raise ApiError(500, "SessionAllocationFailed", f"The session could not be started: {error}") from None


def _capacity_error(pool: Pool, identifier: str) -> ApiError:
    """Return the error of a full pool in the configured form."""
    message = f"Error happened when allocating pod for identifier {identifier} in pool {pool.settings.name}"
    form = pool.settings.capacity_response
    if form is CapacityResponse.SESSIONS_COUNT:
        message = (
            f"The request sessions count is '1'. There are already '{pool.alive}' active sessions and "
            f"the maximum active sessions count is '{pool.capacity}'."
        )
        return ApiError(429, "SessionsCountExceedsLimit", message, flat=True)
    return ApiError(_CAPACITY_STATUS.get(form, 429), "SessionAllocationFailed", message)
