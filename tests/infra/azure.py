"""A fake Azure subscription for scripts. A program records the calls of `az`, `azd`, `curl` and others."""

from __future__ import annotations

import marshal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra import standin

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "curl_version": "8.5.0",
    "az_version": "2.80.0",
    "azd_version": "1.21.1",
    "signed_in": True,
    "azd_signed_in": True,
    "subscription": "00000000-1111-2222-3333-444444444444",
    "environments": {},
    "providers": [
        f"Microsoft.{each}"
        for each in (
            "App",
            "Web",
            "Storage",
            "EventGrid",
            "Insights",
            "OperationalInsights",
            "ManagedIdentity",
            "ContainerRegistry",
            "Network",
        )
    ],
    "sessions_in": "East US",
    "hosts_in": "",
    "roles": ["Owner"],
    "usage": ["0.0", "5.0"],
    "registries": [],
    "images": [],
    "engine": False,
    "groups": {},
    "account": {},
    "pools": {},
    "provisioned": [],
    "deployments": {},
    "blobs": [],
    "renditions": [],
    "recipes": {"web": True, "tutorial": False},
    "looks": {},
    "failing": "",
    "code": False,
    "pool": "",
    "broken": {},
}
# The arguments of a first deployment.
TRY = ("photos", "--location", "westus2", "--yes")
# Beginnings of calls that change nothing on Azure.
LOOKING = (
    "az version",
    "az account ",
    "az ad ",
    "az provider show",
    "az provider list",
    "az functionapp list",
    "az functionapp keys list",
    "az role assignment list",
    "az containerapp list-usages",
    "az containerapp sessionpool show",
    "az acr show",
    "az acr repository show",
    "az acr login",
    "az storage blob list",
    "az identity show",
    "az storage account list",
    "az storage sku list",
    "az group list",
    "az group show",
    "az group exists",
    "az resource list",
    "az monitor log-analytics workspace list",
    "az deployment sub list",
    "azd version",
    "azd auth",
    "azd env",
    "azd provision --preview",
    "curl",
    "rm ",
    "docker info",
    "podman info",
)


@dataclass
class Azure:
    """The fake subscription: its state and its recorded calls."""

    place: Path

    def stand_in_for(self, program: str) -> None:
        """Replace another program with the fake."""
        path = self.place / "bin" / program
        path.write_text(f"#!{sys.executable} -IS\n{Path(standin.__file__).read_text()}")
        path.chmod(0o755)

    def real(self, program: str) -> None:
        """Use the real program again."""
        (self.place / "bin" / program).unlink()

    @property
    def state(self) -> dict[str, Any]:
        """Return the state of the subscription."""
        loaded: dict[str, Any] = marshal.loads((self.place / "state").read_bytes())  # noqa: S302 - our own
        return loaded

    def change(self, **changes: Any) -> None:
        """Change the state of the subscription."""
        (self.place / "state").write_bytes(marshal.dumps({**self.state, **changes}))

    def calls(self) -> list[str]:
        """Return the calls since the last call of this method, one line each."""
        path = self.place / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def changing(self) -> list[str]:
        """Return the calls that change something on Azure, since the last call of `calls`."""
        return [call for call in self.calls() if not call.startswith(LOOKING)]

    def run(self, script: str, *arguments: str, typed: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the project with the fake programs on its PATH."""
        environ = {
            "PATH": f"{self.place}/bin:/usr/bin:/bin",
            "STANDIN": str(self.place),
            "HOME": str(self.place),
            **environ,
        }
        return subprocess.run(
            [ROOT / "scripts" / script, *arguments],
            env={"DEPLOY_PAUSE": "0", "DEPLOY_TRIES": "3", **environ},
            input=typed,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def subscription(place: Path) -> Azure:
    """Create an empty subscription in which everything is allowed."""
    (place / "bin").mkdir()
    (place / "state").write_bytes(marshal.dumps(GOOD))
    azure = Azure(place)
    for program in ("az", "azd", "curl", "rm", "docker", "podman"):
        azure.stand_in_for(program)
    return azure


def in_order(calls: list[str], *starts: str) -> bool:
    """Return whether calls with these beginnings occur in this order."""
    rest = iter(calls)
    return all(any(call.startswith(start) for call in rest) for start in starts)
