"""The service as a whole: every change stands in the chain of its organisation, in the contract's words."""

import json
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from asahi.auth.v1 import auth_pb2 as pb
from services.auth.tests.running import OPERATOR, RunningAuth, acting, running


async def entries(auth: RunningAuth, organization_id: str) -> list[pb.AuditEntry]:
    return list((await auth.stub.ListAudit(pb.ListAuditRequest(organization_id=organization_id))).entries)[::-1]


async def verified(auth: RunningAuth, organization_id: str) -> pb.VerifyAuditResponse:
    return await auth.stub.VerifyAudit(pb.VerifyAuditRequest(organization_id=organization_id))


async def test_what_was_done_by_whom_is_read_back_in_order(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, database_url=database) as auth:
        acme = await auth.signup()
        organization_id, admin = acme.organization_id, acting(acme.api_key)
        made = await auth.create(acme.api_key)
        await auth.revoke(admin, made.api_key)
        await auth.revoke(admin, made.api_key)
        changes = Struct()
        changes.update({"allowed_models": ["gpt-*"]})
        await auth.stub.UpdatePolicy(
            pb.UpdatePolicyRequest(actor=admin, organization_id=organization_id, changes=changes)
        )
        await auth.stub.EraseUser(
            pb.EraseUserRequest(actor=admin, organization_id=organization_id, user_id="ada.lovelace")
        )
        await auth.stub.CreateInvite(pb.CreateInviteRequest(actor=OPERATOR))

        found = await entries(auth, organization_id)
        assert [(entry.sequence, entry.action) for entry in found] == [
            (1, "organization.create"),
            (2, "api_key.create"),
            (3, "api_key.create"),
            (4, "api_key.revoke"),
            (5, "policy.update"),
            (6, "user.erase"),
        ]
        assert [entry.actor for entry in found] == ["signup"] * 2 + [acme.api_key.id] * 4
        assert found[5].target.startswith("user_")
        for secret in ("ada.lovelace", acme.secret, made.secret):
            assert secret not in json.dumps([MessageToDict(entry) for entry in found])
        assert [entry.action for entry in await entries(auth, "")] == ["invite.create"]
        assert not (await verified(auth, organization_id)).faults
        assert not (await verified(auth, "")).faults


async def test_an_erased_user_s_pseudonym_is_nobody_s(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, database_url=database) as auth:
        acme = await auth.signup()
        request = pb.EraseUserRequest(
            actor=acting(acme.api_key), organization_id=acme.organization_id, user_id="ada.lovelace"
        )
        for _ in range(2):
            await auth.stub.EraseUser(request)
        names = [entry.target for entry in await entries(auth, acme.organization_id) if entry.action == "user.erase"]
        assert len(set(names)) == 2


async def test_the_last_checkpoint_is_written_when_the_service_ends(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, database_url=database) as auth:
        acme = await auth.signup()
    async with running(tmp_path, database_url=database) as auth:
        found = await verified(auth, acme.organization_id)
        assert (found.entries, found.last_checkpoint_sequence, list(found.faults)) == (2, 2, [])
