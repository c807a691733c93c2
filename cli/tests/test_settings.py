"""What the environment tells the command."""

import stat
from pathlib import Path

import pytest

from asahi_cli.credentials import Credentials, read_credentials, write_credentials
from asahi_cli.errors import CommandError, WrongConfiguration
from asahi_cli.settings import access, laptop_settings, require_access

KEPT = Credentials("http://127.0.0.1:8000", "org_1", "ask_kept", "secret with 'quotes' and $dollars")


@pytest.mark.parametrize("port", ["abc", "-1", "65536", "8000.0", "٣", " "])
def test_a_port_that_is_none_is_told_with_its_variable(port: str) -> None:
    with pytest.raises(WrongConfiguration, match="PORT"):
        laptop_settings({"PORT": port})


def test_a_base_leaves_room_for_all_five_ports() -> None:
    assert laptop_settings({"ASAHI_GRPC_PORT_BASE": "65531"}).grpc_port_base == 65531
    with pytest.raises(WrongConfiguration, match="ASAHI_GRPC_PORT_BASE"):
        laptop_settings({"ASAHI_GRPC_PORT_BASE": "65532"})


def test_options_go_before_the_environment() -> None:
    assert laptop_settings({"PORT": "1"}, http_port=2).http_port == 2


def test_empty_variables_are_as_good_as_none() -> None:
    settings = laptop_settings({"PORT": "", "OPENAI_API_KEY": "", "ASAHI_DATA_DIR": ""})
    assert settings.http_port == 8000
    assert settings.simulated
    assert settings.data_dir == Path(".asahi").absolute()


@pytest.mark.parametrize("secret", ["two\nlines", " padded", "ümlaut"])
def test_an_admin_secret_that_no_header_can_carry_is_refused(secret: str) -> None:
    with pytest.raises(WrongConfiguration, match="ASAHI_ADMIN_SECRET") as refused:
        laptop_settings({"ASAHI_ADMIN_SECRET": secret})
    assert secret not in refused.value.message


def test_a_base_url_without_its_key_is_told_to_be_unused() -> None:
    settings = laptop_settings({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "ANTHROPIC_API_KEY": "k"})
    assert settings.unused == ("OPENAI_BASE_URL",)
    assert laptop_settings({"OPENAI_BASE_URL": "http://x", "OPENAI_API_KEY": "k"}).unused == ()


def test_secrets_are_not_in_the_settings_text() -> None:
    settings = laptop_settings({"ASAHI_ADMIN_SECRET": "hidden-1", "OPENAI_API_KEY": "hidden-2", "ASAHI_X": "hidden-3"})
    assert "hidden" not in repr(settings)
    assert "ask_kept" not in repr(KEPT)


def test_credentials_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_credentials(tmp_path, Credentials())
    write_credentials(tmp_path, KEPT)
    assert read_credentials(tmp_path) == KEPT
    assert stat.S_IMODE((tmp_path / "credentials").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["credentials"]


def test_credentials_that_a_hand_has_edited_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("# mine\n\nASAHI_API_KEY = ask_x \nASAHI_URL='open\nnonsense\n")
    found = read_credentials(tmp_path)
    assert found.api_key == "ask_x"
    assert found.organization_id == ""


def test_the_environment_goes_before_kept_credentials(tmp_path: Path) -> None:
    write_credentials(tmp_path, KEPT)
    own = access({"ASAHI_API_KEY": "ask_own"}, tmp_path)
    assert (own.url, own.api_key) == (KEPT.url, "ask_own")
    assert access({}, tmp_path).api_key == "ask_kept"


def test_a_kept_key_is_never_sent_to_another_server(tmp_path: Path) -> None:
    write_credentials(tmp_path, KEPT)
    assert access({"ASAHI_URL": "https://elsewhere.example"}, tmp_path).api_key == ""
    assert access({"ASAHI_URL": f"{KEPT.url}/"}, tmp_path).api_key == "ask_kept"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ASAHI_URL and ASAHI_API_KEY not set"):
        require_access(access({}, tmp_path))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://a b"])
def test_a_url_that_is_none_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="ASAHI_URL"):
        access({"ASAHI_URL": url}, tmp_path)
