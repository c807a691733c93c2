"""What is asked of the audit chains: acts on other services, refused logins, pages, verification."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from asahi_auth.domain.acting import acting, check_operator, no_organization
from asahi_auth.domain.audit import BEGUN, INSTALLATION, AuditEntry, AuditKeys, AuditRecord
from asahi_auth.domain.audit_checkpoints import CheckpointBook, KeptCheckpoints
from asahi_auth.domain.audit_log import AuditLog, AuditTransaction
from asahi_auth.domain.audit_verification import Verified, verified
from asahi_auth.domain.organizations import ActingOperator, Actor, name_of
from asahi_auth.domain.rules import MAX_NAME_LENGTH, check_name, check_text, page_size
from asahi_core.clock import Clock
from asahi_core.context import current_call
from asahi_core.errors import InvalidRequest, NotFound, ServiceUnavailable

ASAHI = "asahi"
"""Who acts where nobody else does."""
REFUSED_LOGINS = "login.refused"
_REFUSED = "refused"
_ACT = re.compile(r"act_([1-9][0-9]{0,17})", re.ASCII)
_PAGE_TOKEN = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_MOST_REFUSALS = 1000
_MOST_COUNT = 2**53 - 1
_ADDRESSES_PER_ENTRY = 50
_PAGE_BYTES = 4 * 1024 * 1024
"""Of details in one page, which may end early; an answer has room for ten times as much."""


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be done on other services."""

    organization_id: str
    action: str
    target: str = ""
    """Empty: the end user, or else the organisation."""
    details: Mapping[str, Any] = field(default_factory=dict)
    user_id: str = field(default="", repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Logins that were refused in one minute to one address."""

    minute: datetime
    address: str
    count: int


class AuditTrail:
    """Writes to and reads from the chains. Every method raises ServiceUnavailable while they cannot be reached."""

    def __init__(self, log: AuditLog, book: CheckpointBook, keys: AuditKeys, clock: Clock) -> None:
        self._log = log
        self._book = book
        self._keys = keys
        self._clock = clock

    async def begin(self, actor: Actor, act: Act) -> str:
        """Writes that an act begins; the name of the act for `end`.

        Raises:
            InvalidRequest: a field is not acceptable.
            InvalidApiKey, InsufficientScope, OrganizationMismatch, OrganizationSuspended: as `domain.acting.acting`;
                the operator may act on an organisation that is deleted.
        """
        check_name(act.action, "action")
        check_text(act.target, "target", MAX_NAME_LENGTH)
        check_text(act.user_id, "user_id", MAX_NAME_LENGTH)
        check_text(act.address, "actor.address", MAX_NAME_LENGTH)
        now = self._clock.now()
        entry = AuditEntry(
            organization_id=act.organization_id,
            occurred_at=now,
            actor=name_of(actor),
            action=act.action,
            target=act.target,
            details=act.details,
            outcome=BEGUN,
            address=act.address,
            request_id=current_call.get().request_id,
            user_id=act.user_id,
        )

        def begin(transaction: AuditTransaction) -> int:
            _check_may_act(transaction, actor, act.organization_id, now)
            (record,) = transaction.append(entry)
            return record.sequence

        return f"act_{await self._log.change(begin)}"

    async def end(self, organization_id: str, act_id: str, outcome: str, results: Mapping[str, Any]) -> None:
        """Writes how an act ended; who repeats it changes nothing.

        Raises:
            InvalidRequest: the outcome or the results are not acceptable.
            NotFound: the organisation has no such act.
        """
        check_name(outcome, "outcome")
        if outcome == BEGUN:
            raise InvalidRequest("outcome is 'begun'; it is 'done' or the code of an error.", param="outcome")
        named = _ACT.fullmatch(act_id)
        if named is None:
            raise _no_act()
        sequence = int(named[1])
        request_id = current_call.get().request_id

        def end(transaction: AuditTransaction) -> None:
            begun = transaction.begun(organization_id, sequence)
            if begun is None or begun.outcome != BEGUN:
                raise _no_act()
            if transaction.is_ended(organization_id, sequence):
                return
            ended = AuditEntry(
                organization_id=organization_id,
                occurred_at=self._clock.now(),
                actor=begun.actor,
                action=begun.action,
                target=begun.target,
                details={**results, "act_id": act_id},
                outcome=outcome,
                address=begun.address,
                request_id=request_id or begun.request_id,
                ends=sequence,
            )
            transaction.append(ended)

        await self._log.change(end)

    async def record_refusals(self, refusals: Sequence[Refusals]) -> None:
        """Writes to the installation's chain how many logins were refused, in few entries.

        Raises:
            InvalidRequest: there are none or too many, or one is not acceptable.
        """
        if not 1 <= len(refusals) <= _MOST_REFUSALS:
            message = f"refusals has {len(refusals)} counts; 1 to {_MOST_REFUSALS} are accepted."
            raise InvalidRequest(message, param="refusals")
        counts: dict[datetime, dict[str, int]] = {}
        for one in refusals:
            _check_refusals(one)
            of_minute = counts.setdefault(one.minute.replace(second=0, microsecond=0), {})
            of_minute[one.address] = of_minute.get(one.address, 0) + one.count
        now, request_id = self._clock.now(), current_call.get().request_id
        entries = [
            AuditEntry(
                organization_id=INSTALLATION,
                occurred_at=now,
                actor=ASAHI,
                action=REFUSED_LOGINS,
                details={"minute": minute.isoformat(), "count": sum(some.values()), "addresses": some},
                outcome=_REFUSED,
                request_id=request_id,
            )
            for minute in sorted(counts)
            for some in _in_parts(counts[minute])
        ]
        await self._log.change(lambda transaction: transaction.append(*entries))

    async def page(self, organization_id: str, asked_size: int, page_token: str) -> tuple[Sequence[AuditRecord], str]:
        """Records, newest first, and the token of the page after (empty: none); `asked_size` 0: 100.

        Raises:
            InvalidRequest: the size or the token is not acceptable.
            OrganizationMismatch: there never was such an organisation.
        """
        most = page_size(asked_size)
        if page_token and _PAGE_TOKEN.fullmatch(page_token) is None:
            message = "page_token is none that was given out; send `next_page_token` of the page before, unchanged."
            raise InvalidRequest(message, param="page_token")
        await self._check_chain(organization_id)
        found = await self._log.before(organization_id, int(page_token) if page_token else None, most + 1)
        shown = _fitting(found[:most])
        return shown, str(shown[-1].sequence) if len(shown) < len(found) else ""

    async def verify(self, organization_id: str) -> Verified:
        """What is wrong with a chain.

        Raises:
            OrganizationMismatch: there never was such an organisation.
            ServiceUnavailable: the checkpoints cannot be read.
        """
        await self._check_chain(organization_id)
        kept = await self._kept(organization_id)
        return await self._log.check(
            organization_id,
            lambda before, records, after: verified(
                organization_id, self._keys, kept, before=before, records=records, after=after
            ),
        )

    async def _check_chain(self, organization_id: str) -> None:
        if organization_id != INSTALLATION and not await self._log.has_chain(organization_id):
            raise no_organization()

    async def _kept(self, organization_id: str) -> KeptCheckpoints:
        try:
            return await asyncio.to_thread(partial(self._book.read, organization_id))
        except OSError as error:
            message = "The checkpoints cannot be read, so the chain cannot be verified; the log has the cause."
            raise ServiceUnavailable(message, retry_after_s=1.0) from error


def _check_may_act(transaction: AuditTransaction, actor: Actor, organization_id: str, now: datetime) -> None:
    if organization_id == INSTALLATION:
        check_operator(actor)
    elif not isinstance(actor, ActingOperator):
        acting(transaction.governed, actor, organization_id, now)
    elif transaction.governed.organization(organization_id) is None:
        raise no_organization()


def _check_refusals(refusals: Refusals) -> None:
    check_name(refusals.address, "refusals.address")
    if not 1 <= refusals.count <= _MOST_COUNT:
        message = f"refusals.count is {refusals.count}; it is 1 to {_MOST_COUNT}."
        raise InvalidRequest(message, param="refusals.count")


def _in_parts(counts: Mapping[str, int]) -> list[dict[str, int]]:
    items = sorted(counts.items())
    return [dict(items[at : at + _ADDRESSES_PER_ENTRY]) for at in range(0, len(items), _ADDRESSES_PER_ENTRY)]


def _fitting(records: Sequence[AuditRecord]) -> Sequence[AuditRecord]:
    """The first of `records` that fit one page; at least one, if there is one."""
    size = 0
    for number, record in enumerate(records):
        size += len(record.details)
        if size > _PAGE_BYTES and number:
            return records[:number]
    return records


def _no_act() -> NotFound:
    return NotFound("The organization has no act with this id; `BeginAct` gives ids.", param="act_id")
