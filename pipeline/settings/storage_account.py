"""Connection to the storage account, by the convention of Azure Functions."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, Field

from pipeline.errors import ConfigError

CONNECTION = "IMAGES"


class StorageAccount(BaseModel, frozen=True):
    """Connection to the storage account: a connection string, or three endpoints and a managed identity."""

    connection_string: str | None = Field(default=None, repr=False)
    blob_uri: str | None = None
    queue_uri: str | None = None
    table_uri: str | None = None
    client_id: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the connection `IMAGES` from `environ`.

        Raises:
            ConfigError: a variable is missing; the message lists all missing variables.
        """
        connection = environ.get(CONNECTION)
        if connection:
            return cls(connection_string=connection)
        variables = {kind: f"{CONNECTION}__{kind}ServiceUri" for kind in ("blob", "queue", "table")}
        missing = [name for name in variables.values() if not environ.get(name)]
        if missing:
            raise ConfigError(
                f"no storage account: set {CONNECTION} to a connection string, or set {', '.join(missing)} "
                "to its endpoints (the identity then signs in)"
            )
        uris = {f"{kind}_uri": environ[name] for kind, name in variables.items()}
        return cls(**uris, client_id=environ.get(f"{CONNECTION}__clientId"))
