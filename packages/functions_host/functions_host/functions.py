"""The functions of an app: loaded, and refused for what the real worker refuses too."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func
from azure.functions import meta
from azure.functions.decorators.function_app import Function as Indexed
from azurefunctions.extensions.bindings import blob as sdk

from devstack.errors import HostError

RETURN = "$return"
TRIGGERS = ("blobTrigger", "queueTrigger", "timerTrigger", "httpTrigger")


@dataclass(frozen=True)
class Function:
    """One function: its code, its trigger (the binding's JSON) and what its parameters ask for."""

    name: str
    code: Callable[..., Any]
    trigger: dict[str, Any]
    kind: Any
    wants_context: bool

    @property
    def type(self) -> str:
        """The type of its trigger: one of TRIGGERS."""
        return str(self.trigger["type"])

    @property
    def parameter(self) -> str:
        """The name of the parameter that takes what triggered it."""
        return str(self.trigger["name"])

    @property
    def connection(self) -> str:
        """The name of its trigger's connection."""
        return str(self.trigger.get("connection") or "AzureWebJobsStorage")


def load(app: Path) -> list[Function]:
    """Import function_app.py from the folder `app`, with that folder first on the path and as the current one.

    Raises:
        HostError: there is no app, it does not load, or one of its functions cannot run on the platform.
    """
    script = app / "function_app.py"
    if not script.exists():
        raise HostError(f"there is no function_app.py in {app}: name the folder of the app with --app")
    os.chdir(app)
    sys.path.insert(0, str(app))
    try:
        return [_index(function) for function in _app(_import(script)).get_functions()]
    except ValueError as error:  # two functions of one name, a function without a trigger
        raise HostError(f"function_app.py: {error}") from None


def _import(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("function_app", script)
    assert spec is not None  # noqa: S101 - a .py file has a loader
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["function_app"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HostError(f"function_app.py does not load: {type(error).__name__}: {error}") from error
    return module


def _app(module: ModuleType) -> func.FunctionApp:
    found = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len({id(value) for value in found}) != 1:
        raise HostError(f"function_app.py must hold one FunctionApp, not {len(found)}")
    return found[0]


def _index(function: Indexed) -> Function:
    name, code = str(function.get_function_name()), function.get_user_function()
    trigger, *others = sorted(
        map(json.loads, function.get_raw_bindings()), key=lambda binding: binding["name"] == RETURN
    )
    if trigger["type"] not in TRIGGERS or any(binding["type"] != "http" for binding in others):
        raise HostError(f"{name}: this host drives functions with one binding, which is one of {', '.join(TRIGGERS)}")
    return _checked(Function(name, code, trigger, _hints(name, code).get(trigger["name"]), _wants_context(code)))


def _hints(name: str, code: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(code)
    except NameError as error:
        raise HostError(f"{name}: an annotation cannot be resolved: {error}") from None


def _wants_context(code: Callable[..., Any]) -> bool:
    return "context" in inspect.signature(code).parameters


def _checked(function: Function) -> Function:
    parameters = set(inspect.signature(function.code).parameters) - {"context"}
    if parameters != {function.parameter}:
        raise HostError(
            f"{function.name}: its parameters must be {function.parameter} and, when wanted, context; "
            f"they are {', '.join(sorted(parameters)) or 'none'}"
        )
    if function.kind is not None and not _accepts(function):
        raise HostError(f"{function.name}: a {function.type} cannot hand over {function.kind!r}")
    return function


def _accepts(function: Function) -> bool:
    if not isinstance(function.kind, type):
        return False
    if function.kind in (str, bytes):
        return function.type in ("blobTrigger", "queueTrigger")
    if function.kind is sdk.BlobClient:
        return function.type == "blobTrigger"
    converter = meta.get_binding_registry().get(function.type)  # type: ignore[no-untyped-call]
    return bool(converter.check_input_type_annotation(function.kind))
