"""Checkpoints: where each chain ended, signed and kept outside the database, once a minute.

Who can write to the database alone can cut a chain and let it grow anew; a checkpoint written before tells of it.
"""

import asyncio
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from asahi_auth.domain.audit import AuditKeys, Head, micros_of
from asahi_auth.domain.audit_log import AuditLog
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError

_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a chain ended."""

    organization_id: str
    sequence: int
    hmac: bytes
    """Of the record at `sequence`."""
    written_at: datetime
    signature: bytes = b""
    """HMAC-SHA-256 over the rest, 32 bytes."""


@dataclass(frozen=True, slots=True)
class KeptCheckpoints:
    """What is kept of checkpoints."""

    checkpoints: Sequence[Checkpoint]
    """In the order in which they were written."""
    unreadable: int
    """Entries that are none, of whatever chain."""


class CheckpointBook(Protocol):
    """Keeps checkpoints outside the database. Its methods block."""

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keeps checkpoints durably; raises OSError if it cannot."""
        ...

    def read(self, organization_id: str) -> KeptCheckpoints:
        """Those of one chain; raises OSError if they cannot be read."""
        ...

    def newest(self) -> dict[str, Checkpoint]:
        """That with the highest sequence, by organisation; raises OSError if they cannot be read."""
        ...


def signed(head: Head, at: datetime, keys: AuditKeys) -> Checkpoint:
    """The checkpoint that a chain ends at `head`."""
    checkpoint = Checkpoint(head.organization_id, head.sequence, head.hmac, at)
    return replace(checkpoint, signature=_signature(checkpoint, keys))


def is_signed(checkpoint: Checkpoint, keys: AuditKeys) -> bool:
    """Whether it was written here, as it is."""
    return hmac.compare_digest(_signature(checkpoint, keys), checkpoint.signature)


def _signature(checkpoint: Checkpoint, keys: AuditKeys) -> bytes:
    values = (
        checkpoint.organization_id,
        checkpoint.sequence,
        checkpoint.hmac.hex(),
        micros_of(checkpoint.written_at),
    )
    return hmac.digest(keys.checkpoints(), json.dumps(values).encode(), "sha256")


class Checkpointer:
    """Writes a checkpoint of every chain that grew, into the book and the log."""

    def __init__(
        self, audit_log: AuditLog, book: CheckpointBook, keys: AuditKeys, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._audit_log = audit_log
        self._book = book
        self._keys = keys
        self._clock = clock
        self._log = log
        self._newest: dict[str, Checkpoint] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Writes at once, once a minute, and a last time when `stop` is set; what fails is tried again."""
        while not stop.is_set():
            await self._try()
            try:
                await asyncio.wait_for(stop.wait(), _EVERY_S)
            except TimeoutError:
                continue
        await self._try()

    async def write(self) -> int:
        """Writes now; of how many chains. A chain that is shorter than its checkpoint is told to the log instead.

        Raises:
            ServiceUnavailable: the chains cannot be reached.
            OSError: the book cannot be read or written.
        """
        if self._newest is None:
            self._newest = await asyncio.to_thread(self._book.newest)
        now = self._clock.now()
        grown = [head for head in await self._audit_log.heads() if self._has_grown(head, self._newest)]
        checkpoints = [signed(head, now, self._keys) for head in grown]
        if not checkpoints:
            return 0
        await asyncio.to_thread(self._book.append, checkpoints)
        for checkpoint in checkpoints:
            self._newest[checkpoint.organization_id] = checkpoint
            self._log.info(
                "audit_checkpoint",
                organization_id=checkpoint.organization_id,
                sequence=checkpoint.sequence,
                hmac=checkpoint.hmac.hex(),
                written_at=checkpoint.written_at.isoformat(),
                signature=checkpoint.signature.hex(),
            )
        return len(checkpoints)

    def _has_grown(self, head: Head, newest: dict[str, Checkpoint]) -> bool:
        last = newest.get(head.organization_id)
        if last is None:
            return head.sequence > 0
        if head.sequence < last.sequence or (head.sequence == last.sequence and head.hmac != last.hmac):
            self._log.error(
                "audit_chain_cut",
                organization_id=head.organization_id,
                sequence=head.sequence,
                checkpoint_sequence=last.sequence,
            )
        return head.sequence > last.sequence

    async def _try(self) -> None:
        try:
            await self.write()
        except (AsahiError, OSError) as error:
            self._log.error("audit_checkpoint_not_written", exc_info=error)
