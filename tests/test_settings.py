"""Settings are read from the environment and validated; all problems are reported at once."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Settings, StorageAccount, variable

GOOD = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:7075"}


def test_only_the_endpoint_is_required() -> None:
    settings = Settings.load(GOOD)
    assert (settings.input_container, settings.pool_max_sessions, settings.pool_needs_token) == ("input", 5, False)


def test_all_problems_are_listed_with_variable_and_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(
            {"PIPELINE_POOL_MAX_SESSIONS": "0", "PIPELINE_INPUT_CONTANER": "x", "PIPELINE_EXECUTION_TIMEOUT": "soon"}
        )
    message = caught.value.message
    assert "PIPELINE_POOL_ENDPOINT is not set: The pool's `poolManagementEndpoint`" in message
    assert "PIPELINE_POOL_MAX_SESSIONS='0': must be greater than or equal to 1" in message
    assert "did you mean PIPELINE_INPUT_CONTAINER?" in message
    assert "PIPELINE_EXECUTION_TIMEOUT='soon'" in message


def test_the_deployed_app_ignores_unknown_settings(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.load({**GOOD, "PIPELINE_INPUT_CONTANER": "x"}, ignore_unknown=True)
    assert settings.input_container == "input"
    (record,) = caplog.records
    assert (record.levelname, record.__dict__["event"]) == ("WARNING", "settings.unknown")
    assert "PIPELINE_INPUT_CONTANER is not a setting; did you mean PIPELINE_INPUT_CONTAINER?" in record.getMessage()


def bounds(name: str) -> tuple[float | None, float | None]:
    """Return the minimum and the maximum of a setting; None for a missing one."""
    metadata = Settings.model_fields[name].metadata
    low = next((bound.ge for bound in metadata if hasattr(bound, "ge")), None)
    return low, next((bound.le for bound in metadata if hasattr(bound, "le")), None)


NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
CHOICES = [name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is Literal]
NAMED = [name for name in Settings.model_fields if name.endswith(("_container", "_table", "queue"))]


def outside(name: str) -> list[str]:
    """Return invalid values of a number: just outside of its bounds, and not numbers."""
    low, high = bounds(name)
    near = [str(bound + step) for bound, step in ((low, -1), (high, 1)) if bound is not None]
    return [*near, "", "soon", "nan", "inf", "1e999", "0x10"]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_accepted_within_its_bounds_only(name: str) -> None:
    low, high = bounds(name)
    assert low is not None, "a number without a minimum"
    for inside in (low, high):
        if inside is not None:
            assert getattr(Settings.load({**GOOD, variable(name): str(inside)}), name) == inside
    for value in outside(name):
        with pytest.raises(ConfigError, match=variable(name)):
            Settings.load({**GOOD, variable(name): value})


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_accepts_its_words_only(name: str) -> None:
    for word in get_args(Settings.model_fields[name].annotation):
        assert getattr(Settings.load({**GOOD, variable(name): word}), name) == word
    with pytest.raises(ConfigError, match=variable(name)):
        Settings.load({**GOOD, variable(name): "unknown"})


@pytest.mark.parametrize("name", NAMED)
def test_names_follow_the_rules_of_storage(name: str) -> None:
    table = name.endswith("_table")
    longest = "a" * 63
    assert getattr(Settings.load({**GOOD, variable(name): longest}), name) == longest
    for value in ("", "ab", "a" * 64, "a/b/c", "name_with", "ünï", "../up", "a b c", "1abc" if table else "Abc"):
        with pytest.raises(ConfigError, match=variable(name)):
            Settings.load({**GOOD, variable(name): value})


def test_every_invalid_setting_is_listed() -> None:
    wrong = {variable(name): outside(name)[0] for name in NUMBERS} | {variable(name): "?" for name in CHOICES + NAMED}
    with pytest.raises(ConfigError) as caught:
        Settings.load({**wrong, "PIPELINE_POOL_ENDPOINT": "nowhere", "PIPELINE_WHAT": "1"})
    listed = caught.value.message.splitlines()[1:]
    assert len(listed) == len(wrong) + 2
    for name in (*wrong, "PIPELINE_POOL_ENDPOINT", "PIPELINE_WHAT"):
        assert any(line.strip().startswith((f"{name}=", f"{name} ")) for line in listed), name


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


@pytest.mark.parametrize("endpoint", ["http://pool.example.com", "ftp://127.0.0.1", "nonsense", ""])
def test_endpoints_without_https_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="PIPELINE_POOL_ENDPOINT"):
        Settings.load({"PIPELINE_POOL_ENDPOINT": endpoint})


@pytest.mark.parametrize(
    ("endpoint", "custom"),
    [
        ("https://westus2.dynamicsessions.io/subscriptions/s/resourceGroups/g/sessionPools/pool", False),
        ("https://pool.env1.westus2.azurecontainerapps.io", True),
    ],
)
def test_both_forms_of_azure_endpoints_need_a_token(endpoint: str, custom: bool) -> None:
    settings = Settings.load({"PIPELINE_POOL_ENDPOINT": endpoint + "/"})
    assert (settings.pool_is_custom_container, settings.pool_needs_token) == (custom, True)
    assert settings.pool_endpoint == endpoint


def test_private_containers_must_differ_from_all_others() -> None:
    with pytest.raises(ConfigError, match="must differ"):
        Settings.load({**GOOD, "PIPELINE_UPLOAD_CONTAINER": "input"})


def test_formats_that_run_programs_cannot_be_allowed() -> None:
    with pytest.raises(ConfigError, match="EPS cannot be allowed"):
        Settings.load({**GOOD, "PIPELINE_ALLOWED_FORMATS": "JPEG,EPS"})


def test_account_is_a_connection_string_or_endpoints() -> None:
    assert StorageAccount.load({"IMAGES": "UseDevelopmentStorage=true"}).connection_string
    uris = {f"IMAGES__{kind}ServiceUri": f"https://a.{kind}.core.windows.net" for kind in ("blob", "queue", "table")}
    assert StorageAccount.load({**uris, "IMAGES__clientId": "me"}).client_id == "me"
    with pytest.raises(ConfigError, match="IMAGES__tableServiceUri"):
        StorageAccount.load({key: value for key, value in uris.items() if "table" not in key})


def test_repr_of_an_account_hides_its_key() -> None:
    assert "secret" not in repr(StorageAccount.load({"IMAGES": "AccountKey=secret"}))


def test_only_the_output_container_may_be_the_web_site() -> None:
    assert Settings.load({**GOOD, "PIPELINE_OUTPUT_CONTAINER": "$web"}).output_container == "$web"
    for name in NAMED:
        if name.endswith("_container") and name != "output_container":
            with pytest.raises(ConfigError, match=r"only the output container may be \$web"):
                Settings.load({**GOOD, variable(name): "$web"})
    for other in ("$root", "$logs", "$web2", "web$"):
        with pytest.raises(ConfigError, match="PIPELINE_OUTPUT_CONTAINER"):
            Settings.load({**GOOD, "PIPELINE_OUTPUT_CONTAINER": other})
