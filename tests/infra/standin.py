"""Stands in for `az`, `azd`, `docker` and `podman` on PATH, where no Azure is: runs under their names.

Every call is written down, one JSON list a line, in $STANDIN/calls. What is there and what goes wrong stands in
$STANDIN/state.json; calls that would change something change that. Only the standard library, and started without
`site`, since a script makes a hundred calls.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE = Path(os.environ.get("STANDIN", "."))
Answer = tuple[str, Callable[[dict[str, Any], list[str]], object]]
OUTPUTS = {
    "AZURE_RESOURCE_GROUP": "rg-{name}-images",
    "FUNCTION_APP_NAME": "func-images-abc",
    "FUNCTION_APP_HOST": "func-images-abc.azurewebsites.net",
    "INSIGHTS_NAME": "appi-images-abc",
    "STORAGE_ACCOUNT_NAME": "stimagesabc",
    "TOPIC_NAME": "evgt-images-abc",
    "DEAD_LETTER_CONTAINER": "deadletters",
    "EVENT_IDENTITY_ID": "/subscriptions/s/identity/id-events-abc",
    "INPUT_CONTAINER": "input",
    "OUTPUT_CONTAINER": "output",
    "NETWORK_ISOLATION": "false",
}


class Stop(Exception):  # noqa: N818 - the end of a program
    """End with this status, after these words on standard error."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status, self.words = status, words


def option(words: list[str], name: str) -> str:
    """What stands behind an option."""
    return words[words.index(name) + 1] if name in words else ""


def _fail_where_broken(state: dict[str, Any], call: str) -> None:
    for start, words in state["broken"].items():
        if call.startswith(start):
            raise Stop(1, words)


def azd(state: dict[str, Any], words: list[str]) -> str:
    """The Azure Developer CLI."""
    _fail_where_broken(state, f"azd {' '.join(words)}")
    return _first(AZD, state, words)


def _values(state: dict[str, Any], words: list[str]) -> str:
    found = state["environments"][option(words, "--environment")]
    return "\n".join(f'{name}="{value}"' for name, value in found.items())


def _new(state: dict[str, Any], words: list[str]) -> str:
    state["environments"][words[2]] = {
        "AZURE_ENV_NAME": words[2],
        "AZURE_LOCATION": option(words, "--location"),
        "AZURE_SUBSCRIPTION_ID": option(words, "--subscription"),
    }
    return ""


def _set(state: dict[str, Any], words: list[str]) -> str:
    state["environments"][option(words, "--environment")][words[2]] = words[3]
    return ""


def _deploy(state: dict[str, Any], _: list[str]) -> str:
    state["code"] = True
    return ""


def _provision(state: dict[str, Any], words: list[str]) -> str:
    name = option(words, "--environment")
    environment = state["environments"][name]
    environment.update({key: each.format(name=name) for key, each in OUTPUTS.items()})
    kind = environment.get("SESSION_POOL_KIND") or ("image" if environment.get("PRESET") == "production" else "python")
    environment["REGISTRY_NAME"] = "crimagesabc" if kind == "image" else ""
    if kind == "image":
        state["registries"] = ["crimagesabc"]
    state["groups"] = [f"rg-{name}-images"]
    return ""


def az(state: dict[str, Any], words: list[str]) -> str:
    """The Azure CLI."""
    _fail_where_broken(state, f"az {' '.join(words)}")
    return _first(AZ, state, words)


def _first(answers: list[Answer], state: dict[str, Any], words: list[str]) -> str:
    fitting = (answer for form, answer in answers if re.match(form, " ".join(words)))
    return str(next(fitting, lambda *_: "")(state, words))


def _account(state: dict[str, Any], words: list[str]) -> str:
    if not state["signed_in"]:
        raise Stop(1, "ERROR: Please run 'az login' to setup account.")
    if option(words, "--query") == "id":
        return str(state["subscription"])
    return "\n".join([state["subscription"], "My Subscription", "user", "me@example.com"])


def _keys(state: dict[str, Any], _: list[str]) -> str:
    return "1" if state["code"] else "0"


def _acr_show(state: dict[str, Any], words: list[str]) -> str:
    registry = option(words, "--name")
    if registry not in state["registries"]:
        raise Stop(3, f"ERROR: The resource with name '{registry}' could not be found")
    return f"{registry}.azurecr.io" if option(words, "--query") == "loginServer" else f"/subscriptions/s/{registry}"


def _repository(state: dict[str, Any], words: list[str]) -> str:
    if option(words, "--image") not in state["images"]:
        raise Stop(1, "ERROR: manifest unknown")
    return "{}"


def _build(state: dict[str, Any], words: list[str]) -> str:
    state["images"].append(option(words, "--image"))
    return ""


def _blobs(state: dict[str, Any], words: list[str]) -> str:
    prefix = option(words, "--prefix")
    dropped = [each for each in state["blobs"] if prefix == f"web/{each}/"]
    return "\n".join(f"{prefix}{each}" for each in ("large.webp", "small.avif")) if dropped else ""


def _drop(state: dict[str, Any], words: list[str]) -> str:
    state["blobs"].append(option(words, "--name"))
    return ""


def _pool(state: dict[str, Any], words: list[str]) -> str:
    query = option(words, "--query")
    return {
        "properties.poolManagementEndpoint": state["pool"],
        "properties.provisioningState": "Succeeded",
        "id": "/subscriptions/s/pool",
    }[query]


def _delete_group(state: dict[str, Any], words: list[str]) -> str:
    state["groups"].remove(option(words, "--name"))
    return ""


AZD: list[Answer] = [
    ("version", lambda state, _: f"azd version {state['azd_version']} (commit 0)"),
    ("auth", lambda state, _: json.dumps({"status": "success" if state["azd_signed_in"] else "unauthenticated"})),
    ("env list", lambda state, _: json.dumps([{"Name": each, "IsDefault": False} for each in state["environments"]])),
    ("env new", _new),
    ("env set", _set),
    ("env get-values", _values),
    ("provision --preview", lambda *_: "what would be made"),
    ("provision", _provision),
    ("deploy", _deploy),
]
AZ: list[Answer] = [
    ("version", lambda state, _: state["az_version"]),
    ("account show", _account),
    ("account get-access-token", lambda *_: "token-of-the-stand-in"),
    ("provider show .*sessionPools", lambda *_: "West US 2\nNorth Europe"),
    ("provider list", lambda state, _: "\n".join(state["providers"])),
    ("provider register", lambda state, words: state["providers"].append(option(words, "--namespace")) or ""),
    ("functionapp list-flexconsumption-locations", lambda *_: "westus2\neastus"),
    ("functionapp keys list", _keys),
    ("ad signed-in-user show", lambda *_: "11111111-2222"),
    ("role assignment list", lambda state, _: "\n".join(state["roles"])),
    ("containerapp list-usages", lambda state, _: "\n".join(state["usage"])),
    ("containerapp sessionpool show", _pool),
    ("acr show", _acr_show),
    ("acr create", lambda state, words: state["registries"].append(option(words, "--name")) or ""),
    ("acr repository show", _repository),
    ("acr build", _build),
    ("storage blob upload", _drop),
    ("storage blob list", _blobs),
    ("identity show", lambda *_: "/subscriptions/s/identity"),
    ("group list", lambda state, _: "\n".join(state["groups"])),
    ("group exists", lambda state, words: str(option(words, "--name") in state["groups"]).lower()),
    ("group delete", _delete_group),
    ("resource list", lambda *_: "Name    Type\nstimagesabc  Microsoft.Storage/storageAccounts"),
    ("monitor log-analytics workspace list", lambda *_: "log-images-abc"),
    ("deployment sub list", lambda *_: "photos-1700000000"),
]


def engine(state: dict[str, Any], words: list[str]) -> str:
    """Docker or podman."""
    if words[0] == "info" and not state["engine"]:
        raise Stop(1, "Cannot connect to the daemon")
    if words[0] == "push":
        state["images"].append(words[1].partition("/")[2])
    return ""


def main() -> int:
    """One call."""
    program, words = Path(sys.argv[0]).name, sys.argv[1:]
    with (PLACE / "calls").open("a") as calls:
        calls.write(json.dumps([program, *words]) + "\n")
    state = json.loads((PLACE / "state.json").read_text())
    before = json.dumps(state)
    try:
        answer, status = {"az": az, "azd": azd}.get(program, engine)(state, words), 0
    except Stop as stop:
        answer, status = "", stop.status
        sys.stderr.write(stop.words + "\n")
    if json.dumps(state) != before:
        (PLACE / "state.json").write_text(json.dumps(state))
    if answer:
        print(answer)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
