"""Sealing and verifying: whatever is done to a chain, it is found, and nothing is found where nothing was done."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_auth.domain.audit import GENESIS, AuditEntry, AuditKeys, AuditRecord, Head, is_sealed, sealed
from asahi_auth.domain.audit_checkpoints import Checkpoint, KeptCheckpoints, signed
from asahi_auth.domain.audit_verification import FaultKind, Verified, verified
from asahi_core.errors import InvalidRequest

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AuditKeys(b"a secret of thirty-two characters")
ORGANIZATION = "org_a"


def entry(number: int, organization_id: str = ORGANIZATION) -> AuditEntry:
    return AuditEntry(
        organization_id,
        NOON + timedelta(seconds=number),
        actor="key_00000001",
        action="api_key.create",
        target=f"key_{number:08d}",
        details={"name": "räksmörgås\0", "number": number, "share": 0.1},
    )


def grown(count: int, keys: AuditKeys = KEYS, head: Head | None = None) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    head = head or Head(ORGANIZATION)
    for number in range(count):
        records.append(sealed(entry(number), head, keys.chain(ORGANIZATION)))
        head = head_of(records)
    return records


def head_of(records: Sequence[AuditRecord]) -> Head:
    return Head(ORGANIZATION, records[-1].sequence, records[-1].hmac) if records else Head(ORGANIZATION)


def checked(records: Sequence[AuditRecord], head: Head, *checkpoints: Checkpoint, unreadable: int = 0) -> Verified:
    kept = KeptCheckpoints(checkpoints, unreadable)
    return verified(ORGANIZATION, KEYS, kept, before=head, records=records, after=lambda: head)


def named(found: Verified) -> list[tuple[int, str]]:
    return [(fault.sequence, fault.kind.value) for fault in found.faults]


def test_a_chain_as_it_was_written_has_no_fault() -> None:
    records = grown(10)
    found = checked(records, head_of(records), signed(head_of(records[:4]), NOON, KEYS))
    assert (found.entries, found.checkpoints, named(found)) == (10, 1, [])
    assert (found.last_checkpoint_sequence, found.last_checkpoint_at) == (4, NOON)
    assert [record.sequence for record in records] == list(range(1, 11))
    assert records[0].previous == GENESIS


def test_an_empty_chain_has_no_fault_and_no_checkpoint() -> None:
    found = checked([], Head(ORGANIZATION))
    assert (found.entries, found.checkpoints, named(found), found.last_checkpoint_at) == (0, 0, [], None)


def test_records_that_are_appended_while_it_reads_are_no_fault() -> None:
    records = grown(10)
    kept = KeptCheckpoints((), 0)
    before, after = head_of(records[:7]), head_of(records)
    for seen in (records[:7], records[:9], records):
        found = verified(ORGANIZATION, KEYS, kept, before=before, records=seen, after=lambda: after)
        assert named(found) == []


@pytest.mark.parametrize(
    "change",
    [
        {"occurred_at": NOON + timedelta(seconds=3, microseconds=1)},
        {"actor": "operator"},
        {"action": "api_key.revoke"},
        {"target": "key_x"},
        {"details": "{}"},
        {"outcome": "begun"},
        {"address": "192.0.2.1"},
        {"request_id": "another"},
        {"ends": 1},
        {"previous": bytes(32)},
        {"hmac": bytes(32)},
        {"organization_id": "org_b"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_any_field_is_found_where_it_is(change: dict[str, object]) -> None:
    records = grown(10)
    records[3] = replace(records[3], **change)  # type: ignore[arg-type]  # mypy does not follow the fields' types
    assert (4, "changed") in named(checked(records, head_of(records)))
    assert {sequence for sequence, _ in named(checked(records, head_of(records)))} <= {4, 5}


def test_fields_cannot_flow_into_each_other() -> None:
    key = KEYS.chain(ORGANIZATION)
    records = [
        sealed(replace(entry(1), actor=actor, action=action), Head(ORGANIZATION), key)
        for actor, action in (("ab", "c"), ("a", "bc"), ('a","b', "c"))
    ]
    assert len({record.hmac for record in records}) == len(records)


def test_a_record_belongs_to_its_organization_its_place_and_its_secret() -> None:
    record = grown(2)[1]
    assert is_sealed(record, KEYS.chain(ORGANIZATION))
    assert not is_sealed(record, KEYS.chain("org_b"))
    assert not is_sealed(record, AuditKeys(b"another").chain(ORGANIZATION))
    assert not is_sealed(record, KEYS.chain(ORGANIZATION), 3)


def test_with_another_secret_every_record_is_a_stranger() -> None:
    records = grown(3, AuditKeys(b"another"))
    assert named(checked(records, head_of(records))) == [(1, "changed"), (2, "changed"), (3, "changed")]


def test_a_checkpoint_that_was_changed_is_named_and_proves_nothing() -> None:
    records = grown(5)
    honest = signed(head_of(records[:3]), NOON, KEYS)
    for forged in (replace(honest, sequence=4), replace(honest, hmac=bytes(32)), replace(honest, signature=b"")):
        found = checked(records, head_of(records), forged)
        assert named(found) == [(forged.sequence, "changed")]
        assert (found.checkpoints, found.last_checkpoint_sequence) == (0, 0)


def test_lines_that_are_no_checkpoints_are_told_of_the_installation_alone() -> None:
    assert named(checked([], Head(ORGANIZATION), unreadable=2)) == []
    found = verified("", KEYS, KeptCheckpoints((), 2), before=Head(""), records=[], after=lambda: Head(""))
    assert named(found) == [(0, "changed")]


def test_a_chain_that_was_cut_and_grew_anew_differs_from_the_checkpoint() -> None:
    records = grown(10)
    checkpoint = signed(head_of(records), NOON, KEYS)
    anew = [*records[:6], *grown(6, head=head_of(records[:6]))]
    assert named(checked(anew, head_of(anew), checkpoint)) == [(10, "cut")]


def test_a_loss_after_the_last_checkpoint_is_the_limit() -> None:
    records = grown(10)
    checkpoint = signed(head_of(records[:6]), NOON, KEYS)
    for left in (6, 8):
        assert named(checked(records[:left], head_of(records[:left]), checkpoint)) == []


def test_a_chain_of_strangers_is_told_within_bounds() -> None:
    records = [replace(record, details="{}") for record in grown(3000)]
    found = checked(records, head_of(records))
    assert found.entries == 3000
    assert len(found.faults) == 1000


def test_places_far_out_cost_nothing() -> None:
    records = grown(5)
    records[4] = replace(records[4], sequence=10**15)
    found = checked(records, head_of(records))
    assert named(found) == [(5, "missing"), (10**15, "reordered")]


CHANGES = st.sampled_from(["alter", "drop", "swap", "move", "double", "forge", "cut"])


@given(st.integers(3, 12), CHANGES, st.data())
def test_whatever_is_done_before_the_last_checkpoint_is_found(count: int, change: str, data: st.DataObject) -> None:
    records = grown(count)
    checkpoint = signed(head_of(records), NOON, KEYS)
    place = st.integers(0, count - 1)
    at = data.draw(place)
    other = data.draw(place.filter(lambda found: found != at))
    match change:
        case "alter":
            records[at] = replace(records[at], details='{"number":-1}')
        case "drop":
            del records[at]
        case "swap":
            one, two = records[at], records[other]
            records[at], records[other] = replace(two, sequence=one.sequence), replace(one, sequence=two.sequence)
        case "move":
            moved = records.pop(at)
            records.insert(other, moved)
            records = [replace(record, sequence=number) for number, record in enumerate(records, 1)]
        case "double":
            records.insert(at, records[at])
        case "forge":
            forged = sealed(entry(99), head_of(records[:at]), AuditKeys(b"another").chain(ORGANIZATION))
            records[at] = forged
        case "cut":
            del records[at:]
    head = data.draw(st.sampled_from([head_of(records), checkpoint_head(checkpoint)]))
    assert checked(records, head, checkpoint).faults


def checkpoint_head(checkpoint: Checkpoint) -> Head:
    return Head(checkpoint.organization_id, checkpoint.sequence, checkpoint.hmac)


def test_pseudonyms_differ_by_user_organization_and_salt() -> None:
    salt, other = bytes(32), bytes([1]) * 32
    names = {
        KEYS.pseudonym("org_a", "ada", salt),
        KEYS.pseudonym("org_a", "bob", salt),
        KEYS.pseudonym("org_b", "ada", salt),
        KEYS.pseudonym("org_a", "ada", other),
    }
    assert len(names) == 4
    assert all("ada" not in name for name in names)
    assert KEYS.pseudonym("org_a", "ada", salt) in names


def test_a_pseudonym_is_the_target_unless_there_is_another() -> None:
    key = KEYS.chain(ORGANIZATION)
    about = replace(entry(1), user_id="ada", details={})
    assert sealed(about, Head(ORGANIZATION), key, "user_x").details == '{"user":"user_x"}'
    assert sealed(replace(about, target=""), Head(ORGANIZATION), key, "user_x").target == "user_x"
    assert sealed(replace(about, target="", user_id=""), Head(ORGANIZATION), key).target == ORGANIZATION


@pytest.mark.parametrize("details", [{"a": float("nan")}, {"a": {1, 2}}, {"a": "x" * 70_000}])
def test_details_that_cannot_be_kept_are_refused(details: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sealed(replace(entry(1), details=details), Head(ORGANIZATION), KEYS.chain(ORGANIZATION))
    assert refused.value.param == "details"


def test_secrets_and_end_users_are_never_shown() -> None:
    assert "secret" not in repr(KEYS).replace("AuditKeys", "")
    assert "ada" not in repr(replace(entry(1), user_id="ada"))


def test_kinds_are_the_contracts() -> None:
    assert {kind.value for kind in FaultKind} == {"changed", "missing", "reordered", "cut"}
