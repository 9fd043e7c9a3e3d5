"""Replace `az`, `azd`, `curl`, `docker`, `podman` and `rm` on PATH. The program runs under their names.

It refuses the same things as Azure: a group in another region, a change of the storage's zones, a pool of another kind.
It appends each call as a line to $STANDIN/calls. $STANDIN/state holds the resources and the injected failures, and
changing calls change it. The tests make a thousand calls, so the program starts without `site` and imports only
modules that load fast.
"""

from __future__ import annotations

import marshal
import os
import sys

PLACE = os.environ.get("STANDIN", ".")
Words = list[str]
State = dict  # resources and settings by name
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
    "POOL_NAME": "sessions{kind}abc",
}
REDUNDANCY = {"try": "Standard_LRS", "production": "Standard_ZRS"}
KIND = {"try": "python", "production": "image"}


class Stop(Exception):  # noqa: N818 - ends the program
    """End the program with this status and this text on standard error."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status, self.words = status, words


def option(words: Words, name: str) -> str:
    """Return the argument after an option."""
    return words[words.index(name) + 1] if name in words else ""


def _fail_where_broken(state: State, call: str) -> None:
    for start, words in state["broken"].items():
        if call.startswith(start):
            raise Stop(1, words)


def azd(state: State, words: Words) -> str:
    """Run a command of the Azure Developer CLI."""
    _fail_where_broken(state, f"azd {' '.join(words)}")
    return _first(AZD, state, words)


def _values(state: State, words: Words) -> str:
    found = state["environments"][option(words, "--environment")]
    return "\n".join(f'{name}="{value}"' for name, value in found.items())


def _new(state: State, words: Words) -> str:
    state["environments"][words[2]] = {
        "AZURE_ENV_NAME": words[2],
        "AZURE_LOCATION": option(words, "--location"),
        "AZURE_SUBSCRIPTION_ID": option(words, "--subscription"),
    }
    return ""


def _set(state: State, words: Words) -> str:
    state["environments"][option(words, "--environment")][words[2]] = words[3]
    return ""


def _deploy(state: State, _: Words) -> str:
    state["code"] = True
    return ""


def _provision(state: State, words: Words) -> str:
    name = option(words, "--environment")
    environment = state["environments"][name]
    parameters = {
        key: value for key, value in environment.items() if key not in (*OUTPUTS, "REGISTRY_NAME", "NETWORK_ISOLATION")
    }
    if state["provisioned"] and state["provisioned"][-1] == parameters and "--no-state" not in words:
        return "There are no changes to provision for your application."
    preset = environment.get("PRESET") or "try"
    kind = environment.get("SESSION_POOL_KIND") or KIND[preset]
    outputs = {key: each.format(name=name, kind=kind) for key, each in OUTPUTS.items()}
    group, pool = outputs["AZURE_RESOURCE_GROUP"], outputs["POOL_NAME"]
    sku = environment.get("STORAGE_REDUNDANCY") or REDUNDANCY[preset]
    location = state["groups"].setdefault(group, {"location": environment["AZURE_LOCATION"], "tag": name})["location"]
    if location != environment["AZURE_LOCATION"]:
        raise Stop(1, f"InvalidResourceGroupLocation: {group} already exists in location {location}")
    if ("ZRS" in state["account"].get("sku", sku)) != ("ZRS" in sku):
        raise Stop(1, "StorageAccountTypeConversionNotAllowed: the storage account does not support SKU conversion")
    if state["pools"].get(pool, kind) != kind:
        raise Stop(1, "SessionPoolOperationError: containerType cannot be changed")
    isolated = environment.get("ISOLATE_NETWORK") or "false"
    state["account"] = {"sku": sku, "public": "Disabled" if isolated == "true" else "Enabled"}
    if kind == "python" or environment.get("SESSION_IMAGE"):
        state["pools"][pool] = kind
    if kind == "image":
        state["registries"] = ["crimagesabc"]
    state["provisioned"].append(parameters)
    state["deployments"][f"{name}-1700000000"] = "ours"
    environment.update(outputs, NETWORK_ISOLATION=isolated, REGISTRY_NAME="crimagesabc" if kind == "image" else "")
    return ""


def az(state: State, words: Words) -> str:
    """Run a command of the Azure CLI."""
    _fail_where_broken(state, f"az {' '.join(words)}")
    return _first(AZ, state, words)


def _fits(form: str, call: str) -> bool:
    start, _, later = form.partition(" .*")
    return call.startswith(start) and later in call


def _first(answers: list, state: State, words: Words) -> str:
    fitting = (answer for form, answer in answers if _fits(form, " ".join(words)))
    return str(next(fitting, lambda *_: "")(state, words))


def _account(state: State, words: Words) -> str:
    if not state["signed_in"]:
        raise Stop(1, "ERROR: Please run 'az login' to setup account.")
    if option(words, "--query") == "id":
        return str(state["subscription"])
    return "\n".join([state["subscription"], "My Subscription", "user", "me@example.com"])


def _keys(state: State, _: Words) -> str:
    return "1" if state["code"] else "0"


def _acr_show(state: State, words: Words) -> str:
    registry = option(words, "--name")
    if registry not in state["registries"]:
        raise Stop(3, f"ERROR: The resource with name '{registry}' could not be found")
    return f"{registry}.azurecr.io" if option(words, "--query") == "loginServer" else f"/subscriptions/s/{registry}"


def _repository(state: State, words: Words) -> str:
    if option(words, "--image") not in state["images"]:
        raise Stop(1, "ERROR: manifest unknown")
    return "{}"


def _build(state: State, words: Words) -> str:
    state["images"].append(option(words, "--image"))
    return ""


def _blobs(state: State, words: Words) -> str:
    return "\n".join(each for each in state["renditions"] if each.startswith(option(words, "--prefix")))


def _drop(state: State, words: Words) -> str:
    state["blobs"].append(option(words, "--name"))
    return ""


def _take_away(state: State, words: Words) -> str:
    if "delete-batch" in words:
        start = option(words, "--pattern").removesuffix("*")
        state["renditions"] = [each for each in state["renditions"] if not each.startswith(start)]
    else:
        state["blobs"].remove(option(words, "--name"))
    return ""


def _pool(state: State, words: Words) -> str:
    query = option(words, "--query")
    return {
        "properties.poolManagementEndpoint": state["pool"],
        "properties.provisioningState": "Succeeded",
        "id": "/subscriptions/s/pool",
    }[query]


def _groups(state: State, words: Words) -> str:
    name, tag = _named(words), option(words, "--tag").rpartition("=")[2]
    return "\n".join(each for each, group in state["groups"].items() if group["tag"] == tag and name in ("", each))


def _named(words: Words) -> str:
    """Return the name in a query, or an empty string if it selects all."""
    return option(words, "--query").partition("name=='")[2].partition("'")[0]


def _delete_group(state: State, words: Words) -> str:
    del state["groups"][option(words, "--name")]
    return ""


def _deployments(state: State, words: Words) -> str:
    ours = "uploadsPerSession" in option(words, "--query")
    return "\n".join(each for each, whose in state["deployments"].items() if whose == "ours" or not ours)


def _other_pools(state: State, words: Words) -> str:
    here = option(words, "--query").partition("name!='")[2].partition("'")[0]
    return "\n".join(each for each in state["pools"] if each != here)


AZD: list = [
    ("version", lambda state, _: f"azd version {state['azd_version']} (commit 0)"),
    ("auth", lambda state, _: '{"status": "%s"}' % ("success" if state["azd_signed_in"] else "unauthenticated")),
    ("env list", lambda state, _: "".join(f'{{"Name": "{each}"}}' for each in state["environments"])),
    ("env new", _new),
    ("env set", _set),
    ("env get-values", _values),
    ("provision --preview", lambda *_: "what would be made"),
    ("provision", _provision),
    ("deploy", _deploy),
]
AZ: list = [
    ("version", lambda state, _: state["az_version"]),
    ("account show", _account),
    ("account get-access-token", lambda *_: "token-of-the-stand-in"),
    ("provider show .*sessionPools", lambda state, _: f"West US 2\nNorth Europe\n{state['sessions_in']}"),
    ("provider list", lambda state, _: "\n".join(state["providers"])),
    ("provider register", lambda state, words: state["providers"].append(option(words, "--namespace")) or ""),
    ("functionapp list-flexconsumption-locations", lambda state, _: f"westus2\neastus\n{state['hosts_in']}"),
    ("functionapp keys list .*functionKeys", lambda *_: "key-of-the-stand-in"),
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
    ("storage blob delete", _take_away),
    ("storage account list .*sku.name", lambda state, _: state["account"].get("sku", "")),
    ("storage account list .*publicNetworkAccess", lambda state, _: state["account"].get("public", "")),
    ("storage sku list", lambda *_: "eastus\nWestUS2"),
    ("identity show", lambda *_: "/subscriptions/s/identity"),
    ("group list", _groups),
    ("group show", lambda state, words: state["groups"][option(words, "--name")]["location"]),
    ("group exists", lambda state, words: str(option(words, "--name") in state["groups"]).lower()),
    ("group delete", _delete_group),
    ("resource list .*Microsoft.ContainerRegistry", lambda state, _: "".join(state["registries"])),
    ("resource list .*Microsoft.App/sessionPools", _other_pools),
    ("resource list", lambda *_: "Name    Type\nstimagesabc  Microsoft.Storage/storageAccounts"),
    ("monitor log-analytics workspace list", lambda *_: "log-images-abc"),
    ("deployment sub list", _deployments),
    ("deployment sub delete", lambda state, words: state["deployments"].pop(option(words, "--name")) and ""),
]


def curl(state: State, words: Words) -> str:
    """Answer a request to the app, which takes a key from standard input."""
    if words == ["--version"]:
        return f"curl {state['curl_version']} (x86_64-pc-linux-gnu)"
    path = words[-1].partition("/api/")[2]
    _fail_where_broken(state, f"curl {path}")
    if "key-of-the-stand-in" not in sys.stdin.read():
        raise Stop(22, "401")
    return _first(APP, state, [path])


def _recipes(state: State, _: Words) -> str:
    shown = (f'{{"name":"{each}","description":"","renditions":[{{"name":"large"}}]}}' for each in state["recipes"])
    return f'{{"recipes":[{",".join(shown)}]}}'


def _jobs(state: State, words: Words) -> str:
    """List the jobs. A job is done at the second request; the first rendition exists at the first one."""
    recipe, source = (part.partition("=")[2] for part in words[0].partition("?")[2].split("&"))
    if source not in state["blobs"] or not state["recipes"][recipe]:
        return '{"jobs":[],"next":null}'
    looks = state["looks"][recipe] = state["looks"].get(recipe, 0) + 1
    made = ("large.webp", "small.avif")[: min(looks, 2)]
    state["renditions"] = sorted({*state["renditions"], *(f"{recipe}/{source}/{each}" for each in made)})
    denied = f'"failed","error":{{"kind":"{state["failing"]}","message":"the pool refuses the token"}}'
    ended = denied if state["failing"] else '"done","error":null'
    now = '"running"' if looks < 2 else ended
    return f'{{"jobs":[{{"id":"1","recipe":"{recipe}","state":{now}}}],"next":null}}'


APP: list = [
    ("recipes", _recipes),
    ("runs/plan", lambda state, _: f'{{"id":"1","sources":1,"jobs":{sum(state["recipes"].values())}}}'),
    ("jobs?", _jobs),
    ("failures/retry", lambda state, _: state.update(failing="") or '{"retried":1}'),
    ("preview", lambda *_: '{"recipe":"web","renditions":[{"name":"large","path":"web/photo.jpg/large.webp"}]}'),
]


def remove(state: State, words: Words) -> str:
    """Run `rm`. An azd environment is a folder."""
    if words[-1].startswith(".azure/"):
        state["environments"].pop(words[-1].removeprefix(".azure/"), None)
    elif os.path.exists(words[-1]):  # noqa: PTH110 - as below
        os.unlink(words[-1])  # noqa: PTH108
    return ""


def engine(state: State, words: Words) -> str:
    """Run docker or podman."""
    if words[0] == "info" and not state["engine"]:
        raise Stop(1, "Cannot connect to the daemon")
    if words[0] == "push":
        state["images"].append(words[1].partition("/")[2])
    return ""


def _write(path: str, body: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 - pathlib loads slowly
        file.write(body)


def main() -> int:
    """Execute and record one call."""
    program, words = sys.argv[0].rpartition("/")[2], sys.argv[1:]
    with open(f"{PLACE}/calls", "a") as calls:  # noqa: PTH123
        calls.write(" ".join([program, *words]).replace("\n", " ") + "\n")
    with open(f"{PLACE}/state", "rb") as file:  # noqa: PTH123
        before = file.read()
    state = marshal.loads(before)  # noqa: S302 - the tests' own file
    try:
        answer, status = {"az": az, "azd": azd, "curl": curl, "rm": remove}.get(program, engine)(state, words), 0
    except Stop as stop:
        answer, status = "", stop.status
        sys.stderr.write(stop.words + "\n")
    after = marshal.dumps(state)
    if after != before:
        _write(f"{PLACE}/state", after)
    if answer:
        print(answer)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
