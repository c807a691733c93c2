"""`python -m asahi_auth` as a process: starting, refusing to start, stopping, and speaking to another one."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asahi.auth.v1 import auth_pb2 as pb
from asahi.auth.v1.auth_pb2_grpc import AuthServiceStub
from asahi_core.rpc.channel import ServiceChannel
from services.auth.tests.running import GUARD_S, OPERATOR, SERVICE, running
from services.auth.tests.test_watch import next_revoked, watching

COMMAND = [sys.executable, "-m", "asahi_auth"]
MISTAKEN = 78


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASAHI_")}
    return kept | {"ASAHI_DATA_DIR": str(data_dir), "ASAHI_SIGNUP": "open"} | settings


@contextmanager
def process(data_dir: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    child = subprocess.Popen(COMMAND, env=environment(data_dir, **settings), stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        assert first["event"] == "serving"
        yield child, first["address"]
    finally:
        child.terminate()
        child.communicate(timeout=GUARD_S)


async def test_a_revocation_in_another_process_is_heard(tmp_path: Path) -> None:
    with process(tmp_path) as (_, address):
        async with (
            running(tmp_path) as here,
            watching(here) as events,
            ServiceChannel("auth", address, SERVICE, timeout_s=GUARD_S) as channel,
        ):
            there = AuthServiceStub(channel)
            made = await there.Signup(pb.SignupRequest(organization_name="Acme", user_id="ada"))
            assert (await here.authenticate(made.secret)).api_key_id == made.api_key.id
            await there.RevokeApiKey(
                pb.RevokeApiKeyRequest(actor=OPERATOR, organization_id=made.organization_id, api_key_id=made.api_key.id)
            )
            assert await next_revoked(events) == made.api_key.id


async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    with process(tmp_path) as (child, address):
        async with ServiceChannel("auth", address, SERVICE, timeout_s=GUARD_S) as channel:
            signup = pb.SignupRequest(organization_name="Acme", user_id="ada")
            secrets = [(await AuthServiceStub(channel).Signup(signup)).secret for _ in range(5)]
            child.kill()
            child.wait(GUARD_S)
    async with running(tmp_path) as auth:
        for secret in secrets:
            await auth.authenticate(secret)


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    with process(tmp_path) as (child, _):
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=GUARD_S)
        assert child.returncode == 0
        assert [json.loads(line)["event"] for line in output.splitlines()] == ["stopping"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ASAHI_DATA_DIR": "{file}/data"}, "cannot use {file}/data/auth.db: Not a directory; set ASAHI_DATA_DIR"),
        ({"ASAHI_DATA_DIR": "{file}"}, "cannot use {file}/auth.db: File exists; set ASAHI_DATA_DIR"),
        ({"ASAHI_SIGNUP": "perhaps"}, "ASAHI_SIGNUP: Input should be 'open', 'invite' or 'closed'"),
    ],
)
def test_a_setting_that_does_not_work_is_told(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    told = {name: value.format(file=file) for name, value in settings.items()}
    assert refusal(tmp_path, **told).startswith(f"asahi-auth: {expected.format(file=file)}")


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "auth.db").write_text("This is no database at all, and it is long enough to be taken for one.")
    expected = f"asahi-auth: cannot use the database {tmp_path}/auth.db: file is not a database"
    assert refusal(tmp_path).startswith(expected)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refusal(tmp_path, ASAHI_GRPC_ADDRESS=address).startswith(f"asahi-auth: cannot listen on {address}")


def refusal(data_dir: Path, **settings: str) -> str:
    """The line with which the process refuses to start. gRPC may have logged before it; a traceback would follow."""
    ended = subprocess.run(
        COMMAND,
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert ended.returncode == MISTAKEN
    return ended.stderr.splitlines()[-1]
