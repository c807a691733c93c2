"""`asahi doctor`: looks at this installation from the outside in; says what is wrong and how to mend it."""

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from asahi_cli.client import Answer, AsahiClient
from asahi_cli.credentials import FILE_NAME
from asahi_cli.errors import FAILED, CommandError
from asahi_cli.laptop.addresses import SERVICES
from asahi_cli.laptop.data_folder import in_use
from asahi_cli.laptop.programs import SIMULATOR
from asahi_cli.settings import Access
from asahi_cli.terminal import Style, plain, styled
from asahi_core.keys import digest_key

State = Literal["good", "warning", "bad"]
_MARKS: Mapping[State, tuple[str, Style]] = {"good": ("✓", "green"), "warning": ("!", "yellow"), "bad": ("✗", "red")}
_TIMEOUT_S = 10.0
_SERVICE_REMEDY = "see its lines in the log of `asahi up`; it is started again by itself"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: State
    detail: str
    remedy: str = ""


def doctor(found: Access, *, as_json: bool, colour: bool) -> None:
    """Prints the findings.

    Raises:
        CommandError: something is wrong.
    """
    findings = list(examine(found))
    wrong = sum(finding.state == "bad" for finding in findings)
    if as_json:
        print(json.dumps({"status": "bad" if wrong else "good", "findings": [asdict(f) for f in findings]}))
    else:
        _print(findings, colour=colour)
    if wrong:
        raise CommandError(f"{wrong} of {len(findings)} checks found something wrong", FAILED)


def examine(found: Access) -> Iterator[Finding]:
    """What is installed, then what is kept, then what answers, and with this key."""
    yield _installed()
    yield from _data_folder(found.data_dir)
    if not found.url:
        yield Finding("URL", "bad", "not known", "start Asahi here with `asahi up`, or set ASAHI_URL")
        return
    yield Finding("URL", "good", f"{found.url} (from {found.source})")
    with AsahiClient(found.url, timeout_s=_TIMEOUT_S) as client:
        try:
            health = client.send("GET", "/health")
        except CommandError as error:
            yield Finding("edge", "bad", "does not answer", error.message)
            return
        yield from _components(health)
    yield _key(found)


def _installed() -> Finding:
    missing = [name for name in (*SERVICES, SIMULATOR) if find_spec(f"asahi_{name}") is None]
    python = ".".join(map(str, sys.version_info[:3]))
    if missing:
        return Finding("installation", "bad", f"not installed: {', '.join(missing)}", "run `make setup` in the project")
    return Finding("installation", "good", f"all services, Python {python}")


def _data_folder(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("data folder", "warning", f"{folder} is not there", "`asahi up` makes it; or name it: --data-dir")
        return
    running = "in use by `asahi up`" if in_use(folder) else "no `asahi up` runs on it"
    if os.access(folder, os.W_OK | os.X_OK):
        yield Finding("data folder", "good", f"{folder.absolute()}, {running}")
    else:
        yield Finding("data folder", "bad", f"{folder} cannot be written", f"chown or chmod u+rwx {folder}")
    credentials = folder / FILE_NAME
    if credentials.exists() and stat.S_IMODE(credentials.stat().st_mode) & 0o077:
        yield Finding("credentials", "bad", f"{credentials} can be read by others", f"chmod 600 {credentials}")


def _components(health: Answer) -> Iterator[Finding]:
    components = health.body.get("components") if isinstance(health.body, dict) else None
    if not isinstance(components, dict):
        yield Finding("edge", "bad", f"answers {health.status}, but not as Asahi does", "is ASAHI_URL right?")
        return
    states: Mapping[str, State] = {"healthy": "good", "degraded": "warning"}
    for name, component in components.items():
        told: Mapping[str, Any] = component if isinstance(component, dict) else {}
        state = states.get(str(told.get("status")), "bad")
        remedy = "" if state == "good" else _remedy(name)
        yield Finding(plain(name), state, plain(str(told.get("detail", ""))), remedy)


def _remedy(component: str) -> str:
    if component == "providers":
        return "set OPENAI_API_KEY or ANTHROPIC_API_KEY and start again, or start without any for the simulator"
    return _SERVICE_REMEDY


def _key(found: Access) -> Finding:
    if not found.api_key:
        return Finding("key", "bad", "not known", "start Asahi here with `asahi up`, or set ASAHI_API_KEY")
    if digest_key(found.api_key) is None:
        return Finding(
            "key", "bad", "is no key of Asahi, or mistyped (its check sum is wrong)", "copy the key again, whole"
        )
    return _tried_key(found)


def _tried_key(found: Access) -> Finding:
    with AsahiClient(found.url, found.api_key, timeout_s=_TIMEOUT_S) as client:
        try:
            answer = client.send("GET", "/governance/api-keys", query={"limit": 1})
        except CommandError as error:
            return Finding("key", "bad", "cannot be tried", error.message)
    if answer.status == 401:
        return Finding("key", "bad", "is not valid here", "take another (ASAHI_API_KEY), or start `asahi up` again")
    if answer.status == 403:
        return Finding("key", "good", "is valid; it has not the scope `admin`, which `asahi keys` asks for")
    if answer.status >= 400:
        return Finding("key", "bad", f"cannot be tried: the edge answers {answer.status}", _SERVICE_REMEDY)
    return Finding("key", "good", "is valid")


def _print(findings: Sequence[Finding], *, colour: bool) -> None:
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark, style = _MARKS[finding.state]
        print(f"{styled(mark, style, colour=colour)} {finding.subject:<{width}}  {finding.detail}")
        if finding.remedy:
            print(f"  {'':<{width}}  {styled(f'to mend it: {finding.remedy}', 'bold', colour=colour)}")
