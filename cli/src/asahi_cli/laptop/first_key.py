"""The first organisation of an installation and its key: signed up for once, then kept and tried at every start."""

import time
from dataclasses import replace
from pathlib import Path

from asahi_cli.client import AsahiClient, Refused
from asahi_cli.credentials import Credentials, read_credentials, write_credentials
from asahi_cli.errors import CommandError, WrongConfiguration

ORGANIZATION_NAME = "laptop"
USER_ID = "me"
_TRIES = 10
_PAUSE_S = 0.5
_PASSING = (502, 503, 504)


def kept_credentials(data_dir: Path) -> Credentials:
    """What an earlier start kept in `data_dir`.

    Raises:
        WrongConfiguration: the file cannot be read.
    """
    try:
        return read_credentials(data_dir)
    except OSError as error:
        raise WrongConfiguration(
            f"{error.filename} cannot be read ({error.strerror}): mend its mode, or remove it for a new key"
        ) from error


def working_credentials(kept: Credentials, url: str, admin_secret: str, data_dir: Path) -> Credentials:
    """`kept`, if its key still works at `url`, else those of a new organisation; written to `data_dir` if changed.

    Raises:
        CommandError: the edge refuses or does not answer.
    """
    current = replace(kept, url=url, admin_secret=admin_secret)
    if not (kept.api_key and kept.organization_id and _works(url, kept.api_key)):
        with AsahiClient(url) as client:
            made = _patiently(client, "POST", "/signup", {"org_name": ORGANIZATION_NAME, "user_id": USER_ID})
        current = replace(current, organization_id=made["org_id"], api_key=made["api_key"])
    if current != kept:
        write_credentials(data_dir, current)
    return current


def _works(url: str, api_key: str) -> bool:
    with AsahiClient(url, api_key) as client:
        try:
            _patiently(client, "GET", "/governance/api-keys?limit=1")
        except Refused as refused:
            if refused.status not in (401, 403):
                raise
            return False
    return True


def _patiently(client: AsahiClient, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, str]:
    """The answer's body; services that find each other only now get a few seconds for it."""
    for _ in range(_TRIES):
        answer = client.send(method, path, body=body)
        if answer.status not in _PASSING:
            break
        time.sleep(_PAUSE_S)
    found = client.checked(answer).body
    if not isinstance(found, dict):
        raise CommandError(f"{path} was answered with something that is no JSON object")
    return found
