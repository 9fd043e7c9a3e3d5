"""The tutorial's nine steps in scripts/az make the right calls and crop a photo."""

from __future__ import annotations

from pathlib import Path

from tests.images import detect_format, size
from tests.infra.azure import Azure, in_order


def test_the_tutorial_makes_a_pool_step_by_step(azure: Azure) -> None:
    for step in ("01-prepare", "02-build-image", "03-create-environment", "04-create-session-pool"):
        result = azure.run(f"az/{step}")
        assert result.returncode == 0, result.stderr
    changing = azure.changing()
    assert in_order(
        changing,
        "az extension add --name containerapp",
        "az provider register --namespace Microsoft.App",
        "az group create",
        "az acr create",
        "az acr build",
        "az containerapp env create",
        "az identity create",
        "az role assignment create",
        "az containerapp sessionpool create",
    )
    (create,) = [call for call in changing if call.startswith("az containerapp sessionpool create")]
    for wanted in (
        "--network-status EgressDisabled",
        "--target-port 6000",
        "--registry-identity /subscriptions/s/identity",
    ):
        assert wanted in create


def test_the_tutorial_crops_a_photo_in_a_real_session(azure: Azure, session_pool: str, tmp_path: Path) -> None:
    azure.real("curl")
    azure.change(pool=session_pool, groups={"rg-session-tutorial": {"location": "westus2", "tag": ""}})
    out = tmp_path / "cropped.jpg"
    said = ""
    for step, *arguments in (["05-authorize"], ["06-upload-image"], ["07-crop-image"], ["08-download-image", str(out)]):
        result = azure.run(f"az/{step}", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        said += result.stdout
    assert "hello from a session with Pillow" in said
    assert said.count('"Succeeded"') == 2
    assert (detect_format(out.read_bytes()), size(out.read_bytes())) == ("JPEG", (300, 300))
    result = azure.run("az/09-clean-up", typed="rg-session-tutorial\n")
    assert result.returncode == 0, result.stderr
    assert "stopped" in result.stdout
    assert azure.state["groups"] == {}
    assert "token-of-the-stand-in" not in "".join(azure.calls()), "a token among the arguments of a program"


def test_the_tutorial_asks_before_it_deletes(azure: Azure, session_pool: str) -> None:
    azure.real("curl")
    azure.change(pool=session_pool, groups={"rg-session-tutorial": {"location": "westus2", "tag": ""}})
    assert azure.run("az/09-clean-up", typed="no\n").returncode == 1
    assert azure.state["groups"].keys() == {"rg-session-tutorial"}
