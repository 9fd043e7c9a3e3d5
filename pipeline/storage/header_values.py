"""Values of response headers without the SDK's general deserialization.

The SDK converts each of the 50 headers that a blob may have, most of them absent, with code for whole documents: a
sixth of its CPU time for a read. Absent values and text need no conversion. The SDK converts all others; a test
compares the results.
"""

from typing import Any

from azure.storage.blob._generated._utils.serialization import Deserializer

_sdk_call = Deserializer.__call__


def use_fast_header_values() -> None:
    """Apply the patch to this process."""
    setattr(Deserializer, "__call__", _deserialize)  # noqa: B010 - mypy takes a method for constant


def _deserialize(self: Deserializer, target: Any, value: Any, content_type: str | None = None) -> Any:  # noqa: ANN401 - as in the SDK
    """Return a value as the type that `target` names."""
    if content_type is None and (value is None or (target == "str" and type(value) is str)):
        return value
    return _sdk_call(self, target, value, content_type)  # type: ignore[no-untyped-call]
