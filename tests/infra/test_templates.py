"""The Bicep templates are valid and fit Azure's resource types, and the checks find errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.events import host_queries, logged_events, queried_events
from tests.infra.bicep import File, literal, problems, properties, text, walk
from tests.infra.types import Types

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
FILES = sorted(INFRA.glob("*.bicep"))
TYPES = ROOT.parent / "shared" / "reference" / "bicep-types"
# Types without a local description.
UNDESCRIBED = {
    "Microsoft.Insights/actionGroups@2023-01-01",
    "Microsoft.Insights/diagnosticSettings@2021-05-01-preview",
    "Microsoft.Insights/metricAlerts@2018-03-01",
    "Microsoft.Insights/scheduledQueryRules@2023-12-01",
    "Microsoft.Network/privateDnsZones@2020-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01",
    "Microsoft.Network/privateEndpoints@2024-05-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01",
    "Microsoft.Network/virtualNetworks@2024-05-01",
}
needs_types = pytest.mark.skipif(not TYPES.exists(), reason="needs the descriptions of Azure's resource types")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_template_has_no_internal_errors(path: Path) -> None:
    assert list(problems(File(path))) == []


@needs_types
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_template_fits_azures_resource_types(path: Path) -> None:
    types = Types(TYPES)
    assert list(types.problems(File(path))) == []
    passed_over = {each.target for each in File(path).of("resource").values() if not types.described(each)}
    assert passed_over <= UNDESCRIBED


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("param kind string", "param kind string =", "syntax"),
        ("var ownImage = kind ==", "var ownImage = knd ==", "nothing is called knd"),
        ("var waits = ownImage", "var idle = ownImage\nvar waits = ownImage", "idle is used by nothing"),
    ],
)
def test_internal_errors_are_found(tmp_path: Path, old: str, new: str, found: str) -> None:
    changed = tmp_path / "pool.bicep"
    source = (INFRA / "pool.bicep").read_text()
    assert old in source
    changed.write_text(source.replace(old, new))
    assert any(found in problem for problem in problems(File(changed)))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("    poolEndpoint: pool.outputs.endpoint\n", "", "functions.bicep needs poolEndpoint"),
        ("    image: sessionImage\n", "    imag: sessionImage\n", "pool.bicep has no parameter imag"),
        ("pool.outputs.endpoint\n    max", "pool.outputs.address\n    max", "pool.bicep has no output address"),
        ("'roles.bicep'", "'rolls.bicep'", "there is no rolls.bicep"),
        (
            "    isolated: networkIsolation\n",
            "    isolated: location\n",
            "isolated of storage.bicep is a bool, not a string",
        ),
        ("    kind: kind\n", "    kind: monitoring.outputs.workspaceId\n    x: 1\n", "pool.bicep has no parameter x"),
        ("image: sessionImage\n", "image: 5\n", "image of pool.bicep is a string, not a int"),
    ],
)
def test_a_wrong_module_call_is_found(tmp_path: Path, old: str, new: str, found: str) -> None:
    for path in FILES:
        (tmp_path / path.name).write_text(path.read_text())
    source = (INFRA / "main.bicep").read_text()
    assert old in source
    (tmp_path / "main.bicep").write_text(source.replace(old, new))
    assert any(found in problem for problem in problems(File(tmp_path / "main.bicep")))


@needs_types
@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("containerType: 'PythonLTS'", "containerTyp: 'PythonLTS'", "there is no .properties.containerTyp"),
        ("maxConcurrentSessions: maxSessions,", "maxConcurrentSessions: '5',", "should be a IntegerType"),
        ("[{ identity: identity, lifecycle: 'None' }]", "[{ lifecycle: 'None' }]", "identity is missing"),
        ("sessionPools@2026-01-01' = if (!own", "sessionPool@2026-01-01' = if (!own", "there is no resource type"),
    ],
)
def test_errors_against_resource_types_are_found(tmp_path: Path, old: str, new: str, found: str) -> None:
    changed = tmp_path / "pool.bicep"
    source = (INFRA / "pool.bicep").read_text()
    assert old in source
    changed.write_text(source.replace(old, new))
    assert any(found in problem for problem in Types(TYPES).problems(File(changed)))


def test_every_parameter_is_described_and_can_be_set() -> None:
    main = File(INFRA / "main.bicep")
    assert not [name for name in main.of("param") if "description" not in main.decorators(name)]
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(given) == set(main.of("param"))


def test_defaults_of_parameter_file_and_template_are_equal() -> None:
    """`${MAX_SESSIONS=0}` in the parameter file and `= 0` in the template are the same default."""
    main = File(INFRA / "main.bicep")
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    for name, param in main.of("param").items():
        variable = re.fullmatch(r"\$\{(\w+)(?:=(.*))?\}", given[name]["value"])
        assert variable, f"{name} is not taken from the environment"
        if param.value is not None:
            inside = literal(param.value) if param.value.type == "string" else text(param.value)
            assert (variable[2] or "") == inside, name


def test_every_role_assignment_has_a_reason() -> None:
    assigned = [
        each
        for path in FILES
        for each in File(path).of("resource").values()
        if each.target.startswith("Microsoft.Authorization/roleAssignments") and each.body
    ]
    assert len(assigned) == 5
    for each in assigned:
        assert each.body
        assert "description" in properties(properties(each.body)["properties"])
        assert "scope" in properties(each.body), "a role on one resource, never on the group"


def test_the_deploying_user_gets_the_roles_of_the_cli() -> None:
    """`failures`, `retry` and `reprocess` need roles for blobs, queues and tables; without one, Azure responds 403."""
    roles = (INFRA / "roles.bicep").read_text()
    for role in ("blobContributor", "queueContributor", "tableContributor", "sessionExecutor"):
        assert re.search(rf"who: person, type: personType, role: {role}\b", roles), role


def test_sessions_get_no_network_and_no_identity() -> None:
    source = (INFRA / "pool.bicep").read_text()
    assert source.count("status: 'EgressDisabled'") == source.count("'Microsoft.App/sessionPools@")
    assert "lifecycle: 'Main'" not in source
    assert "EgressEnabled" not in source


def test_no_key_opens_storage_logs_or_the_registry() -> None:
    expected = {
        "storage": ("allowSharedKeyAccess: false", "allowBlobPublicAccess: false"),
        "monitoring": ("DisableLocalAuth: true", "disableLocalAuth: true"),
        "registry": ("adminUserEnabled: false",),
        "functions": ("properties: { allow: false }",),
    }
    for name, lines in expected.items():
        source = (INFRA / f"{name}.bicep").read_text()
        assert not [line for line in lines if line not in source], name


def test_alerts_search_for_events_that_the_pipeline_logs() -> None:
    """The query about dead letters matches a line of the Functions host instead."""
    strings = [text(node).strip("'") for node in walk(File(INFRA / "alerts.bicep").root) if node.type == "string"]
    queries = [each for each in strings if each.startswith("traces |")]
    assert len(queries) == 9
    assert [each for each in queries if not queried_events(each)] == queries[:1] == host_queries()
    assert {name for each in queries for name in queried_events(each)} <= set(logged_events())
