"""The edge's settings: each is in the README, and none tells a secret."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from asahi_core.settings import ServiceSettings
from asahi_edge.settings import EdgeSettings, networks_in

_README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_setting_is_in_the_readme_and_nothing_else_is() -> None:
    fields = EdgeSettings.model_fields
    variables = {field.alias or f"ASAHI_{name.upper()}" for name, field in fields.items()}
    assert set(re.findall(r"`((?:ASAHI_|OTEL_|REDIS_)[A-Z_]+)`", _README)) == variables


@pytest.mark.parametrize("name", sorted(EdgeSettings.model_fields.keys() - ServiceSettings.model_fields.keys()))
def test_the_readme_says_the_default(name: str) -> None:
    field = EdgeSettings.model_fields[name]
    variable = field.alias or f"ASAHI_{name.upper()}"
    row = re.search(rf"`{variable}` \| ([^|]+) \|", _README)
    assert row is not None
    told = row[1].strip().strip("`")
    number = re.fullmatch(r"([\d.]+)(?: (KiB|MiB))?", told)
    if number is not None:
        assert float(number[1]) * {None: 1, "KiB": 1024, "MiB": 1024**2}[number[2]] == field.default
    elif told == "none":
        secret = isinstance(field.default, SecretStr)
        assert (field.default.get_secret_value() if secret else field.default) in ("", None)
    else:
        assert str(field.default).lower() == told


def test_the_admin_secret_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAHI_ADMIN_SECRET", "hunter2")
    assert "hunter2" not in repr(EdgeSettings())


@pytest.mark.parametrize("value", ["10.0.0.0/8, ::1", "127.0.0.1/32", ""])
def test_trusted_proxies_are_networks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ASAHI_TRUSTED_PROXIES", value)
    assert len(networks_in(EdgeSettings().trusted_proxies)) == len([one for one in value.split(",") if one])


@pytest.mark.parametrize("value", ["the proxy", "10.0.0.1/8", "10.0.0.0/33"])
def test_what_is_no_network_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ASAHI_TRUSTED_PROXIES", value)
    with pytest.raises(ValidationError, match="trusted_proxies"):
        EdgeSettings()


def test_an_address_that_is_not_redis_is_refused_at_the_start_without_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@redis:6379")
    with pytest.raises(ValidationError, match="redis://host:6379") as refused:
        EdgeSettings()
    assert "hunter2" not in str(refused.value)
