"""The methods of the contract that are about the audit chains, on both databases."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.api.audit_methods import AuditMethods
from asahi_auth.domain.audit import AuditKeys
from asahi_auth.domain.audit_checkpoints import Checkpointer
from asahi_auth.domain.audit_trail import AuditTrail
from asahi_auth.domain.organizations import ApiKey, Organization
from asahi_auth.domain.scopes import Scope
from asahi_auth.stores.audit import AuditChains
from asahi_auth.stores.audit_log import SqlAuditLog
from asahi_auth.stores.checkpoints import CheckpointFile
from asahi_auth.stores.opening import SCHEMA
from asahi_auth.stores.transaction import SqlTransaction
from asahi_core.clock import ManualClock
from asahi_core.context import CallContext, current_call
from asahi_core.errors import (
    AsahiError,
    InsufficientScope,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    OrganizationMismatch,
    OrganizationSuspended,
    ServiceUnavailable,
)
from asahi_core.sql.databases import database_at
from asahi_core.sql.engines import open_engine
from asahi_core.sql.schema import migrate
from services.auth.tests.running import OPERATOR, quiet_log

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AuditKeys(b"a secret of thirty-two characters")
NO_CONTEXT = cast(Any, None)
ADMIN = pb.Actor(api_key_id="key_admin000", address="192.0.2.7")


def struct(**values: Any) -> Struct:
    message = Struct()
    message.update(values)
    return message


class Service(AuditMethods):
    """The methods on a database with three organisations: one, another, and one that is suspended."""

    def __init__(self, folder: Path, database: str) -> None:
        self.engine = open_engine(database_at(database, folder / "auth.db"), "auth", connections=4)
        migrate(self.engine, SCHEMA)
        self.clock = ManualClock(NOON)
        self.chains = AuditChains(KEYS)
        self.log = SqlAuditLog(self.engine, self.chains, SqlTransaction)
        self.path = folder / "audit-checkpoints.jsonl"
        book = CheckpointFile(self.path)
        self.checkpointer = Checkpointer(self.log, book, KEYS, self.clock, quiet_log())
        self._audit = AuditTrail(self.log, book, KEYS, self.clock)
        with self.engine.begin() as connection:
            transaction = SqlTransaction(connection)
            for name in ("org_a", "org_b", "org_off"):
                transaction.add_organization(Organization(name, "A", "ada", "", NOON))
            transaction.add_key(_key("key_admin000", "org_a", Scope.ADMIN))
            transaction.add_key(_key("key_infer000", "org_a", Scope.INFER))
            transaction.add_key(_key("key_off00000", "org_off", Scope.ALL))
            transaction.suspend("org_off", NOON)

    async def begin(self, actor: pb.Actor = ADMIN, organization_id: str = "org_a", **fields: Any) -> str:
        request = pb.BeginActRequest(
            actor=actor, organization_id=organization_id, **({"action": "cache.invalidate"} | fields)
        )
        return (await self.BeginAct(request, NO_CONTEXT)).act_id

    async def end(self, act_id: str, outcome: str = "done", organization_id: str = "org_a", **details: Any) -> None:
        request = pb.EndActRequest(
            organization_id=organization_id, act_id=act_id, outcome=outcome, details=struct(**details)
        )
        await self.EndAct(request, NO_CONTEXT)

    async def refuse(self, *refusals: pb.RefusedLogins) -> None:
        await self.RecordRefusals(pb.RecordRefusalsRequest(refusals=refusals), NO_CONTEXT)

    async def list(self, organization_id: str = "org_a", size: int = 0, token: str = "") -> pb.ListAuditResponse:
        request = pb.ListAuditRequest(organization_id=organization_id, page_size=size, page_token=token)
        return await self.ListAudit(request, NO_CONTEXT)

    async def verify(self, organization_id: str = "org_a") -> pb.VerifyAuditResponse:
        return await self.VerifyAudit(pb.VerifyAuditRequest(organization_id=organization_id), NO_CONTEXT)


def _key(key_id: str, organization_id: str, scope: Scope) -> ApiKey:
    return ApiKey(key_id, bytes(32), "sha256", organization_id, "k", "", (scope,), (), NOON, "signup")


@pytest.fixture
def service(tmp_path: Path, database: str) -> Iterator[Service]:
    found = Service(tmp_path, database)
    with contextlib.closing(found.log):
        yield found
    found.engine.dispose()


async def test_an_act_is_an_entry_before_and_one_after(service: Service) -> None:
    current_call.set(CallContext(request_id="req-1"))
    act_id = await service.begin(target="tag", details=struct(tag="faq", older=1.5))
    (begun,) = (await service.list()).entries
    assert (begun.sequence, begun.actor, begun.action, begun.target) == (1, "key_admin000", "cache.invalidate", "tag")
    assert (begun.outcome, begun.address, begun.request_id) == ("begun", "192.0.2.7", "req-1")
    assert MessageToDict(begun.details) == {"tag": "faq", "older": 1.5}
    assert begun.occurred_at.ToDatetime(UTC) == NOON
    assert len(begun.hmac) == 32

    service.clock.advance(2)
    await service.end(act_id, answers=3)
    ended, still = (await service.list()).entries
    assert still == begun
    assert (ended.sequence, ended.actor, ended.action, ended.target, ended.outcome, ended.request_id) == (
        2,
        "key_admin000",
        "cache.invalidate",
        "tag",
        "done",
        "req-1",
    )
    assert MessageToDict(ended.details) == {"answers": 3, "act_id": act_id}
    assert ended.occurred_at.ToDatetime(UTC) == NOON + timedelta(seconds=2)


async def test_an_act_without_an_outcome_stays_visible(service: Service) -> None:
    await service.begin()
    other = await service.begin()
    await service.end(other, "service_unavailable")
    assert [entry.outcome for entry in (await service.list()).entries] == ["service_unavailable", "begun", "begun"]


async def test_an_act_ends_once_however_often_it_is_told(service: Service) -> None:
    act_id = await service.begin()
    await asyncio.gather(*(service.end(act_id, outcome) for outcome in ("done", "internal_error", "done")))
    entries = (await service.list()).entries
    assert len(entries) == 2
    assert not (await service.verify()).faults


@pytest.mark.parametrize("act_id", ["", "act_0", "act_2", "act_9", "act_٣", "act_1x", "17", "act_" + "9" * 30])
async def test_an_act_that_there_is_not_cannot_end(service: Service, act_id: str) -> None:
    begun = await service.begin()
    await service.end(begun)  # entry 2 is no act
    with pytest.raises(NotFound):
        await service.end(act_id)
    with pytest.raises(NotFound):
        await service.end(begun, organization_id="org_b")
    assert len((await service.list()).entries) == 2


@pytest.mark.parametrize(
    ("actor", "organization_id", "error"),
    [
        (pb.Actor(), "org_a", InvalidRequest),
        (pb.Actor(api_key_id="key_unknown0"), "org_a", InvalidApiKey),
        (pb.Actor(api_key_id="key_infer000"), "org_a", InsufficientScope),
        (ADMIN, "org_b", OrganizationMismatch),
        (ADMIN, "org_unknown", OrganizationMismatch),
        (ADMIN, "", InsufficientScope),
        (pb.Actor(api_key_id="key_off00000"), "org_off", OrganizationSuspended),
        (OPERATOR, "org_unknown", OrganizationMismatch),
    ],
)
async def test_who_may_not_act_leaves_no_entry(
    service: Service, actor: pb.Actor, organization_id: str, error: type[AsahiError]
) -> None:
    with pytest.raises(error):
        await service.begin(actor, organization_id)
    assert await service.log.heads() == []


async def test_the_operator_acts_on_what_is_suspended_or_deleted_too(service: Service) -> None:
    with service.engine.begin() as connection:
        SqlTransaction(connection).delete_organization("org_b", NOON)
    for organization_id in ("org_off", "org_b", ""):
        await service.end(await service.begin(OPERATOR, organization_id), organization_id=organization_id)
        assert [entry.actor for entry in (await service.list(organization_id)).entries] == ["operator", "operator"]


async def test_an_end_user_stands_under_one_pseudonym_before_and_after_the_erasure(service: Service) -> None:
    act_id = await service.begin(action="user.erase", user_id="ada.lovelace")
    with service.engine.begin() as connection:
        assert service.chains.forget_user(connection, "org_a", "ada.lovelace") == 1
    await service.end(act_id)
    ended, begun = (await service.list()).entries
    assert begun.target == ended.target
    assert begun.target.startswith("user_")
    assert "lovelace" not in str((await service.list()).entries)
    assert not (await service.verify()).faults


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"action": ""}, "action"),
        ({"action": "x" * 201}, "action"),
        ({"target": "a\0b"}, "target"),
        ({"user_id": "x" * 201}, "user_id"),
        ({"details": struct(a=float("nan"))}, "details"),
        ({"details": struct(a="x" * 70_000)}, "details"),
    ],
)
async def test_an_act_that_cannot_be_kept_is_refused_by_name(
    service: Service, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await service.begin(**fields)
    assert refused.value.param == param
    act_id = await service.begin()
    for outcome in ("", "begun", "x" * 201):
        with pytest.raises(InvalidRequest, match="outcome"):
            await service.end(act_id, outcome)


def refused(address: str, count: int, seconds: int = 0) -> pb.RefusedLogins:
    return pb.RefusedLogins(minute=Timestamp(seconds=int(NOON.timestamp()) + seconds), address=address, count=count)


async def test_refused_logins_are_counted_by_minute_and_address_in_few_entries(service: Service) -> None:
    flood = [refused(f"192.0.2.{number}", number) for number in range(1, 121)]
    await service.refuse(*flood, refused("other", 5, seconds=60), refused("192.0.2.1", 2, seconds=30))
    entries = (await service.list("")).entries[::-1]
    assert len(entries) == 4
    assert {(entry.actor, entry.action, entry.outcome) for entry in entries} == {("asahi", "login.refused", "refused")}
    details = [MessageToDict(entry.details) for entry in entries]
    assert [detail["minute"] for detail in details] == ["2026-01-01T12:00:00+00:00"] * 3 + ["2026-01-01T12:01:00+00:00"]
    counted = {address: count for detail in details[:3] for address, count in detail["addresses"].items()}
    assert counted == {f"192.0.2.{number}": number + 2 * (number == 1) for number in range(1, 121)}
    assert sum(detail["count"] for detail in details) == sum(range(1, 121)) + 7
    assert not (await service.verify("")).faults


@pytest.mark.parametrize(
    "refusals",
    [
        [],
        [refused("192.0.2.1", 1)] * 1001,
        [refused("", 1)],
        [refused("192.0.2.1", 0)],
        [refused("192.0.2.1", -1)],
        [refused("x" * 201, 1)],
        [pb.RefusedLogins(minute=Timestamp(seconds=-(10**12)), address="a", count=1)],
    ],
    ids=["none", "too many", "no address", "zero", "negative", "long", "no time"],
)
async def test_counts_that_are_none_are_refused(service: Service, refusals: list[pb.RefusedLogins]) -> None:
    with pytest.raises(InvalidRequest) as error:
        await service.refuse(*refusals)
    assert (error.value.param or "").startswith("refusals")
    assert await service.log.heads() == []


async def test_pages_neither_repeat_nor_hide_entries_that_are_added_meanwhile(service: Service) -> None:
    for _ in range(7):
        await service.begin()
    seen: list[int] = []
    token = ""
    while True:
        page = await service.list(size=3, token=token)
        seen += [entry.sequence for entry in page.entries]
        await service.begin()
        token = page.next_page_token
        if not token:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_page_of_long_entries_ends_early(service: Service) -> None:
    for _ in range(70):
        await service.begin(details=struct(text="x" * 65_000))
    first = await service.list(size=1000)
    assert 1 < len(first.entries) < 70
    rest = await service.list(size=1000, token=first.next_page_token)
    assert len(first.entries) + len(rest.entries) == 70
    assert rest.next_page_token == ""


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (1001, ""), (0, "x"), (0, "0"), (0, "9" * 30), (0, "٣")])
async def test_pages_that_there_are_not_are_refused(service: Service, size: int, token: str) -> None:
    with pytest.raises(InvalidRequest):
        await service.list(size=size, token=token)


async def test_an_organization_that_never_was_has_no_chain(service: Service) -> None:
    for call in (service.list, service.verify):
        with pytest.raises(OrganizationMismatch):
            await call("org_unknown")
        assert not MessageToDict(await call("org_b"))


async def test_a_verification_says_how_far_its_checkpoints_reach(service: Service) -> None:
    for _ in range(3):
        await service.begin()
    before = await service.verify()
    assert (before.entries, before.checkpoints, before.last_checkpoint_sequence) == (3, 0, 0)
    assert not before.HasField("last_checkpoint_at")
    await service.checkpointer.write()
    await service.begin()
    after = await service.verify()
    assert (after.entries, after.checkpoints, after.last_checkpoint_sequence) == (4, 1, 3)
    assert after.last_checkpoint_at.ToDatetime(UTC) == NOON


async def test_a_fault_is_told_in_a_sentence(service: Service) -> None:
    for _ in range(3):
        await service.begin()
    with service.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_records SET details = 'no JSON' WHERE sequence = 2")
    (fault,) = (await service.verify()).faults
    assert (fault.sequence, fault.kind) == (2, "changed")
    assert fault.description == "Entry 2 is not as it was written: its HMAC does not fit."
    assert [len(entry.details.fields) for entry in (await service.list()).entries] == [0, 0, 0]


async def test_checkpoints_that_cannot_be_read_are_no_good_news(service: Service) -> None:
    service.path.mkdir()
    with pytest.raises(ServiceUnavailable):
        await service.verify()
