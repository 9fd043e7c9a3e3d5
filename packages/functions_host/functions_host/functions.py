"""Load a function app, and reject apps that the Python worker on Azure rejects."""

from __future__ import annotations

import importlib
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
from azure.functions.decorators.function_app import Function as RegisteredFunction
from azurefunctions.extensions.bindings import blob as sdk

from functions_host.errors import HostError

RETURN_BINDING = "$return"
TRIGGER_TYPES = ("blobTrigger", "queueTrigger", "timerTrigger", "httpTrigger")


@dataclass(frozen=True)
class Function:
    """One function: its code, the JSON of its trigger binding, and the types of its parameters."""

    name: str
    code: Callable[..., Any]
    trigger: dict[str, Any]
    parameter_type: Any
    takes_context: bool

    @property
    def trigger_type(self) -> str:
        """The trigger type: one of TRIGGER_TYPES."""
        return str(self.trigger["type"])

    @property
    def parameter(self) -> str:
        """The name of the parameter that receives the trigger's value."""
        return str(self.trigger["name"])

    @property
    def connection(self) -> str:
        """The connection name of the trigger."""
        return str(self.trigger.get("connection") or "AzureWebJobsStorage")


def load_functions(app: Path) -> list[Function]:
    """Import `function_app.py` from the folder `app`. The folder becomes the current one and the first on sys.path.

    Raises:
        HostError: There is no app, it does not load, or Azure would reject one of its functions.
    """
    if not (app / "function_app.py").exists():
        raise HostError(f"there is no function_app.py in {app}: name the folder of the app with --app")
    os.chdir(app)
    sys.path.insert(0, str(app))
    try:
        return [_to_function(registered) for registered in _function_app(_import_app()).get_functions()]
    except ValueError as error:  # a duplicate name, or a function without a trigger
        raise HostError(f"function_app.py: {error}") from None


def _import_app() -> ModuleType:
    """Import function_app.py as the Python worker does, by its module name."""
    sys.modules.pop("function_app", None)
    try:
        return importlib.import_module("function_app")
    except Exception as error:
        raise HostError(f"function_app.py does not load: {type(error).__name__}: {error}") from error


def _function_app(module: ModuleType) -> func.FunctionApp:
    """Return the only FunctionApp of the module."""
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len({id(app) for app in apps}) != 1:
        raise HostError(f"function_app.py must contain one FunctionApp, not {len(apps)}")
    return apps[0]


def _to_function(registered: RegisteredFunction) -> Function:
    """Convert a function that the app has registered."""
    name, code = str(registered.get_function_name()), registered.get_user_function()
    trigger, *others = sorted(
        map(json.loads, registered.get_raw_bindings()), key=lambda binding: binding["name"] == RETURN_BINDING
    )
    if trigger["type"] not in TRIGGER_TYPES or any(binding["type"] != "http" for binding in others):
        raise HostError(
            f"{name}: this host runs functions with one binding, a trigger of the type {', '.join(TRIGGER_TYPES)}"
        )
    takes_context = "context" in inspect.signature(code).parameters
    return _validated(Function(name, code, trigger, _type_hints(name, code).get(trigger["name"]), takes_context))


def _type_hints(name: str, code: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(code)
    except NameError as error:
        raise HostError(f"{name}: an annotation cannot be resolved: {error}") from None


def _validated(function: Function) -> Function:
    """Check the parameters of a function, and return it."""
    parameters = set(inspect.signature(function.code).parameters) - {"context"}
    if parameters != {function.parameter}:
        raise HostError(
            f"{function.name}: its parameters must be {function.parameter} and, optionally, context; "
            f"they are {', '.join(sorted(parameters)) or 'none'}"
        )
    if function.parameter_type is not None and not _supports_parameter_type(function):
        raise HostError(f"{function.name}: a {function.trigger_type} cannot provide {function.parameter_type!r}")
    return function


def _supports_parameter_type(function: Function) -> bool:
    if not isinstance(function.parameter_type, type):
        return False
    if function.parameter_type in (str, bytes):
        return function.trigger_type in ("blobTrigger", "queueTrigger")
    if function.parameter_type is sdk.BlobClient:
        return function.trigger_type == "blobTrigger"
    converter = meta.get_binding_registry().get(function.trigger_type)  # type: ignore[no-untyped-call]
    return bool(converter.check_input_type_annotation(function.parameter_type))
