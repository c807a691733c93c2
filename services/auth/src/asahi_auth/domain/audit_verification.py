"""Recomputes a chain, holds it against its head and its checkpoints, and names what is wrong."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain, islice

from asahi_auth.domain.audit import INSTALLATION, AuditKeys, AuditRecord, Head, is_sealed
from asahi_auth.domain.audit_checkpoints import Checkpoint, KeptCheckpoints, is_signed

_MOST_FAULTS = 1000
_MOST_PLACES = 500
"""Places that a record is tried at that does not belong where it stands."""


class FaultKind(StrEnum):
    """What can be wrong with a chain."""

    CHANGED = "changed"
    """A record is not the one that was written, or was not written here at all."""
    MISSING = "missing"
    """Records between others are gone."""
    REORDERED = "reordered"
    """A record stands at another place than it was written at."""
    CUT = "cut"
    """Records at the end are gone, whether or not others were written after it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a chain."""

    sequence: int
    kind: FaultKind
    description: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found."""

    entries: int
    checkpoints: int
    faults: Sequence[Fault]
    """In order of the chain; at most 1000."""
    last_checkpoint_sequence: int
    """A loss after it cannot be seen; 0: there is no checkpoint."""
    last_checkpoint_at: datetime | None


def verified(
    organization_id: str,
    keys: AuditKeys,
    kept: KeptCheckpoints,
    *,
    before: Head,
    records: Iterable[AuditRecord],
    after: Callable[[], Head],
) -> Verified:
    """What is wrong with a chain.

    `kept` and then `before`, its head, were read before `records`, all of them in order; `after` reads the head anew.
    So records that are appended meanwhile are no fault.
    """
    genuine = [checkpoint for checkpoint in kept.checkpoints if is_signed(checkpoint, keys)]
    reading = _Reading(keys.chain(organization_id), genuine)
    for record in records:
        reading.take(record)
    reading.end(before, after())
    for checkpoint in kept.checkpoints:
        if not is_signed(checkpoint, keys):
            reading.found(
                checkpoint.sequence,
                FaultKind.CHANGED,
                f"A checkpoint of entry {checkpoint.sequence} is not as it was written: its signature does not fit.",
            )
    if kept.unreadable and organization_id == INSTALLATION:
        message = f"The file of checkpoints has {kept.unreadable} lines that are none; it was changed."
        reading.found(0, FaultKind.CHANGED, message)
    last = max(genuine, key=lambda one: one.sequence, default=None)
    return Verified(
        entries=reading.entries,
        checkpoints=len(genuine),
        faults=sorted(reading.faults, key=lambda fault: fault.sequence),
        last_checkpoint_sequence=last.sequence if last is not None else 0,
        last_checkpoint_at=last.written_at if last is not None else None,
    )


class _Reading:
    """A chain that is read from its beginning."""

    def __init__(self, key: bytes, checkpoints: Sequence[Checkpoint]) -> None:
        self.entries = 0
        self.faults: list[Fault] = []
        self._key = key
        self._checkpoints: dict[int, list[Checkpoint]] = defaultdict(list)
        for checkpoint in checkpoints:
            self._checkpoints[checkpoint.sequence].append(checkpoint)
        self._last: AuditRecord | None = None
        self._last_is_genuine = True
        self._gaps: list[range] = []
        self._strangers: list[AuditRecord] = []
        """Records that do not belong where they stand."""

    def found(self, sequence: int, kind: FaultKind, description: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(Fault(sequence, kind, description))

    def take(self, record: AuditRecord) -> None:
        """Takes the next record of the chain."""
        self.entries += 1
        follows = self._follows(record)
        genuine = is_sealed(record, self._key)
        if not genuine:
            if len(self._strangers) < _MOST_FAULTS:
                self._strangers.append(record)
        elif follows and self._last is not None and self._last_is_genuine and record.previous != self._last.hmac:
            message = f"Entry {record.sequence} was written after another entry {self._last.sequence} than stands here."
            self.found(record.sequence, FaultKind.CHANGED, message)
        if genuine:
            self._compare(record)
        self._last, self._last_is_genuine = record, genuine

    def end(self, before: Head, after: Head) -> None:
        """Tells what only the end of the chain shows."""
        last = self._last.sequence if self._last is not None else 0
        self._hold_against_head(last, before, after)
        self._hold_against_last_checkpoint(last, before)
        for gap in self._gaps:
            self.found(gap.start, FaultKind.MISSING, f"{_entries(gap)} missing.")
        places = [record.sequence for record in self._strangers[:_MOST_PLACES]]
        end = max(before.sequence, last, *self._checkpoints, 0)
        beyond = range(last + 1, end + 1 + len(self._strangers))  # where the last ones stood if places were closed up
        missing = islice(chain(*self._gaps, beyond), _MOST_PLACES)
        self._name_strangers([*places, *missing])

    def _follows(self, record: AuditRecord) -> bool:
        """Whether it stands right after the last one; tells if it does not."""
        expected = max(1, self._last.sequence + 1) if self._last is not None else 1
        if record.sequence > expected:
            self._gaps.append(range(expected, record.sequence))
        elif record.sequence < expected:
            message = f"There is an entry at place {record.sequence} where none belongs, or a second one."
            self.found(record.sequence, FaultKind.REORDERED, message)
        return record.sequence == expected

    def _compare(self, record: AuditRecord) -> None:
        """Only who has the key writes a genuine record, so one that a checkpoint does not know was written later."""
        other = next((c for c in self._checkpoints.get(record.sequence, ()) if c.hmac != record.hmac), None)
        if other is not None:
            message = (
                f"Entry {record.sequence} is not the one of the checkpoint of {_time(other)}: the chain was cut off "
                "before it and went on anew."
            )
            self.found(record.sequence, FaultKind.CUT, message)

    def _hold_against_head(self, last: int, before: Head, after: Head) -> None:
        if last > after.sequence:
            message = f"The chain's head is at entry {after.sequence}, but there are entries up to {last}."
            self.found(after.sequence + 1, FaultKind.CHANGED, message)
        elif self._last is not None and last == after.sequence and self._last.hmac != after.hmac:
            if self._last_is_genuine:
                message = f"The chain's head names another entry {last} than the one that is there."
                self.found(last, FaultKind.CHANGED, message)
        elif last < before.sequence:
            gone = range(last + 1, before.sequence + 1)
            self.found(gone.start, FaultKind.CUT, f"{_entries(gone)} cut off: the chain's head is at {gone.stop - 1}.")

    def _hold_against_last_checkpoint(self, last: int, before: Head) -> None:
        newest = max(chain(*self._checkpoints.values()), key=lambda one: one.sequence, default=None)
        if newest is not None and newest.sequence > max(last, before.sequence):
            gone = range(max(last, before.sequence) + 1, newest.sequence + 1)
            self.found(
                gone.start, FaultKind.CUT, f"{_entries(gone)} cut off: there is a checkpoint of {_time(newest)}."
            )

    def _name_strangers(self, places: Sequence[int]) -> None:
        for number, record in enumerate(self._strangers):
            tried = places if number < _MOST_PLACES else ()
            place = next((at for at in tried if is_sealed(record, self._key, at)), None)
            if place is None:
                message = f"Entry {record.sequence} is not as it was written: its HMAC does not fit."
                self.found(record.sequence, FaultKind.CHANGED, message)
            else:
                message = f"Entry {place} stands at place {record.sequence}."
                self.found(record.sequence, FaultKind.REORDERED, message)


def _entries(of: range) -> str:
    return f"Entry {of.start} is" if len(of) == 1 else f"Entries {of.start} to {of.stop - 1} are"


def _time(checkpoint: Checkpoint) -> str:
    return checkpoint.written_at.isoformat(timespec="seconds")
