"""What every call carries: the API version, the identifier, and the pool that it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from starlette.requests import Request

from session_pool_emulator.pool import Pool, PoolFull
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.session import Session
from session_pool_emulator.settings import CapacityAnswer
from session_pool_emulator.web.errors import ApiError, bad_request

_FULL_STATUS = {CapacityAnswer.ALLOCATION_500: 500, CapacityAnswer.NOT_FOUND: 404}
_IDENTIFIER = re.compile(r"""[a-zA-Z0-9_|}{\[\]:"';<>?/.,@#$%^&*()\-+=!~`]{4,128}""")


class Version(IntEnum):
    """The API versions, oldest first; the first two speak the old family."""

    V2024_02 = 1
    V2024_08 = 2
    V2024_10 = 3
    V2025_02 = 4
    V2025_10 = 5

    @property
    def old(self) -> bool:
        """Whether it has the `properties` envelope and the `code/execute` paths."""
        return self < Version.V2024_10


VERSIONS = {
    "2024-02-02-preview": Version.V2024_02,
    "2024-08-02-preview": Version.V2024_08,
    "2024-10-02-preview": Version.V2024_10,
    "2025-02-02-preview": Version.V2025_02,
    "2025-10-02-preview": Version.V2025_10,
}


@dataclass(frozen=True)
class Call:
    """One request, checked. `version_name` is as the client wrote it."""

    request: Request
    pool: Pool
    version: Version
    version_name: str

    @classmethod
    def of(cls, request: Request, *, since: Version = Version.V2024_02, until: Version = Version.V2025_10) -> Call:
        """Raises ApiError: 401 with an empty body for a version nobody knows, 400 for one without this operation."""
        name = request.query_params.get("api-version")
        if name is None:
            raise bad_request("The query parameter 'api-version' is missing.", target="api-version")
        version = VERSIONS.get(name.lower())
        if version is None:
            raise ApiError(401, None)
        if not since <= version <= until:
            message = f"{request.method} {request.url.path} is not an operation of api-version {name}."
            raise bad_request(message, target="api-version")
        return cls(request, request.app.state.pool, version, name)

    @property
    def identifier(self) -> str:
        """The session's identifier. Raises ApiError when it is missing or not allowed."""
        identifier = self.request.query_params.get("identifier", "")
        if not _IDENTIFIER.fullmatch(identifier):
            message = "The query parameter 'identifier' must be 4 to 128 letters, digits or common punctuation marks."
            raise bad_request(message, target="identifier")
        return identifier

    async def session(self) -> tuple[Session, bool]:
        """The session of this call, allocated if need be, and whether it is new. Raises ApiError."""
        identifier = self.identifier
        try:
            return await self.pool.session(identifier)
        except PoolFull:
            raise pool_full(self.pool, identifier) from None
        except SandboxError as error:
            raise ApiError(500, "SessionAllocationFailed", f"The session could not be started: {error}") from None


def pool_full(pool: Pool, identifier: str) -> ApiError:
    """The answer when every session is taken."""
    message = f"Error happened when allocating pod for identifier {identifier} in pool {pool.settings.name}"
    form = pool.settings.capacity_answer
    if form is CapacityAnswer.SESSIONS_COUNT:
        message = (
            f"The request sessions count is '1'. There are already '{pool.alive}' active sessions and "
            f"the maximum active sessions count is '{pool.capacity}'."
        )
        return ApiError(429, "SessionsCountExceedsLimit", message, flat=True)
    return ApiError(_FULL_STATUS.get(form, 429), "SessionAllocationFailed", message)
