"""Binding of the blob trigger: the name of a blob, without a client for it.

The package `azurefunctions-extensions-bindings-blob` gives each event a blob client with a credential of its own, and
loads the SDKs of both when the app starts. The pipeline needs the name alone: its own clients read the blob.
"""

import json
from typing import Any, Protocol

from azurefunctions.extensions.base import Datum, InConverter, OutConverter, SdkType


class _BindingData(Protocol):
    """Model binding data of the host: a JSON document with `Connection`, `ContainerName` and `BlobName`."""

    content: bytes


class BlobReference(SdkType):  # type: ignore[misc]
    """Container and name of the blob that an event is about.

    As a type of the SDK bindings, it makes the host send these in place of the blob's bytes.
    """

    def __init__(self, *, data: _BindingData) -> None:
        """Read the model binding data of the host."""
        super().__init__(data={})
        document = json.loads(data.content)
        self.container: str = document["ContainerName"]
        self.name: str = document["BlobName"]

    def get_sdk_type(self) -> "BlobReference":
        """Return itself; other types of the SDK bindings create a client here."""
        return self


class _Converter(InConverter, OutConverter, binding="blob", trigger="blobTrigger"):  # type: ignore[misc, call-arg]
    """Converter that the Python worker finds in the registry of bindings by the name `blobTrigger`."""

    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        """Return True for the type that this converter creates."""
        return issubclass(pytype, BlobReference)

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: Any, pytype: type | None = None) -> BlobReference:  # noqa: ANN401 - the signature of the worker
        """Convert the data of an invocation. Raises ValueError if the host has sent anything but a reference."""
        if data is None or data.type != "model_binding_data":
            raise ValueError(f"the host sent {data and data.type!r} to the blob trigger, not a reference to a blob")
        return BlobReference(data=data.value)
