"""`python -m asahi_auth.copy_database`: an installation moves from its file to PostgreSQL, whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message
from sqlalchemy import text

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.stores.opening import SCHEMA
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from services.auth.tests.running import GUARD_S, OPERATOR, RunningAuth, acting, running
from services.auth.tests.test_process import MISTAKEN, environment
from tests.postgresql import PostgreSQL

COMMAND = [sys.executable, "-m", "asahi_auth.copy_database"]


def copy(data_dir: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND,
        env=environment(data_dir, DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


async def fill(auth: RunningAuth) -> list[str]:
    """Something of everything; the secrets of two valid keys."""
    made = await auth.signup()
    other = await auth.signup("Other")
    plain = await auth.create(made.api_key)
    await auth.revoke(acting(made.api_key), plain.api_key)
    rotate = pb.RotateApiKeyRequest(
        actor=acting(other.api_key), organization_id=other.organization_id, api_key_id=other.api_key.id
    )
    await auth.stub.RotateApiKey(rotate)
    for zone in ("Asia/Tokyo", "Europe/Berlin"):
        policy = pb.UpdatePolicyRequest(actor=OPERATOR, organization_id=made.organization_id)
        policy.changes.update({"timezone": zone})
        await auth.stub.UpdatePolicy(policy)
    await auth.stub.CreateInvite(pb.CreateInviteRequest(actor=OPERATOR, note="räksmörgås"))
    return [made.secret, other.secret]


async def everything(auth: RunningAuth, secrets: list[str]) -> list[Message]:
    """All that can be asked."""
    organizations = await auth.stub.ListOrganizations(pb.ListOrganizationsRequest(actor=OPERATOR))
    answers: list[Message] = [organizations, await auth.stub.ListInvites(pb.ListInvitesRequest(actor=OPERATOR))]
    for one in organizations.organizations:
        answers.append(await auth.stub.ListApiKeys(pb.ListApiKeysRequest(organization_id=one.id)))
        answers.append(await auth.stub.ListPolicyVersions(pb.ListPolicyVersionsRequest(organization_id=one.id)))
    return answers + [await auth.authenticate(secret) for secret in secrets]


async def test_an_installation_that_moved_answers_as_before_and_goes_on(tmp_path: Path, server: PostgreSQL) -> None:
    url = server.create_database("auth_copied")
    async with running(tmp_path) as auth:
        secrets = await fill(auth)
        before = await everything(auth, secrets)
    done = copy(tmp_path, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) >= {"organizations: 2", "api_keys: 4", "policies: 2", "invites: 1"}
    async with running(tmp_path / "elsewhere", DATABASE_URL=url) as auth:
        assert await everything(auth, secrets) == before
        assert await auth.authenticate((await auth.signup("Third")).secret)
        (first, *_) = (await auth.stub.ListOrganizations(pb.ListOrganizationsRequest(actor=OPERATOR))).organizations
        policy = pb.UpdatePolicyRequest(actor=OPERATOR, organization_id=first.id)
        policy.changes.update({"strict_revocation": True})
        await auth.stub.UpdatePolicy(policy)
    again = copy(tmp_path, url)
    assert again.returncode == MISTAKEN
    assert again.stderr.startswith("asahi-auth: the database of DATABASE_URL is not empty (")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "there is no database to copy to; set DATABASE_URL"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot use the database of DATABASE_URL"),
    ],
)
async def test_a_target_that_cannot_be_used_is_told(tmp_path: Path, url: str, says: str) -> None:
    async with running(tmp_path) as auth:
        await auth.signup()
    refused = copy(tmp_path, url)
    assert refused.returncode == MISTAKEN
    assert refused.stderr.startswith(f"asahi-auth: {says}")
    assert "secret" not in refused.stderr


def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path, server: PostgreSQL) -> None:
    refused = copy(tmp_path, server.url())
    assert refused.returncode == MISTAKEN
    assert refused.stderr.startswith(f"asahi-auth: there is no {tmp_path}/auth.db to copy")
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_another_version_is_told_and_left_as_it_is(tmp_path: Path, server: PostgreSQL) -> None:
    async with running(tmp_path) as auth:
        await auth.signup()
    engine = open_engine(database_at("", tmp_path / "auth.db"), "auth", connections=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    refused = copy(tmp_path, server.create_database("auth_of_another_version"))
    assert refused.returncode == MISTAKEN
    assert f"the file has the schema 0001, not {SCHEMA.head}" in refused.stderr
