"""The shortcut for values of headers gives the results of the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.storage.blob._generated._utils.serialization import DeserializationError, Deserializer

from pipeline.storage.header_values import _deserialize, _sdk_call, use_fast_header_values

TEXTS = ["", "image/jpeg", '{"a": 1}', "größe", "None", "12"]
CASES = [
    *(("str", text) for text in TEXTS),
    *((kind, None) for kind in ("str", "int", "bool", "rfc-1123", "bytearray", "{str}", "[str]")),
    ("int", "12"),
    ("bool", "true"),
    ("rfc-1123", "Tue, 01 Dec 2026 17:00:00 GMT"),
    ("bytearray", "AAAA"),
    ("{str}", {"a": "b"}),
]


@pytest.mark.parametrize(("target", "value"), CASES)
def test_a_value_is_that_of_the_sdk(target: str, value: Any) -> None:
    assert _deserialize(Deserializer({}), target, value) == _sdk_call(Deserializer({}), target, value)


def test_the_sdk_refuses_other_values() -> None:
    with pytest.raises(DeserializationError):
        _deserialize(Deserializer({}), "int", "twelve")
    use_fast_header_values()
    assert Deserializer({})("str", "text") == "text"
    assert Deserializer.__call__ is _deserialize
