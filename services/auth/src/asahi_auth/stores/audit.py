"""Writes to the audit chains, in the transaction of the change that an entry tells of.

The head of a chain is locked until that transaction ends: the chain has neither gaps nor forks. So that changes never
wait for each other in a circle, heads are locked after organisations, keys and invites, before the head of the
revocations, and an organisation's before the installation's. Salts of end users are touched under the head's lock only.
"""

import secrets
from collections.abc import Callable
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from asahi_auth.domain.audit import AuditEntry, AuditKeys, AuditRecord, Head, sealed
from asahi_auth.stores.audit_tables import AUDIT_HEADS, AUDIT_RECORDS, AUDIT_USERS
from asahi_core.sql.upserts import insert_of

_SALT_BYTES = 32
_LOCK_HEAD = select(AUDIT_HEADS).where(AUDIT_HEADS.c.organization_id == bindparam("id")).with_for_update()
_FIND_SALT = select(AUDIT_USERS.c.salt).where(
    AUDIT_USERS.c.organization_id == bindparam("id"), AUDIT_USERS.c.user_digest == bindparam("digest")
)
_MOVE_HEAD = (
    update(AUDIT_HEADS)
    .where(AUDIT_HEADS.c.organization_id == bindparam("id"))
    .values(sequence=bindparam("at"), hmac=bindparam("mac"))
)


class AuditChains:
    """The chains of all organisations and of the installation."""

    def __init__(
        self, keys: AuditKeys, new_salt: Callable[[], bytes] = lambda: secrets.token_bytes(_SALT_BYTES)
    ) -> None:
        self._keys = keys
        self._new_salt = new_salt

    def append(self, connection: Connection, entry: AuditEntry, *more: AuditEntry) -> list[AuditRecord]:
        """Writes entries in the connection's transaction; the records, chain by chain, in the order given.

        Raises:
            InvalidRequest: an entry's details are no JSON, or too long.
        """
        records: list[AuditRecord] = []
        by_chain = sorted((entry, *more), key=attrgetter("organization_id"), reverse=True)  # the installation's last
        for organization_id, entries in groupby(by_chain, attrgetter("organization_id")):
            records += self._append(connection, organization_id, list(entries))
        return records

    def forget_user(self, connection: Connection, organization_id: str, user_id: str) -> int:
        """Makes an end user's pseudonym nobody's; how many there were. Others keep theirs.

        To be called after the last entry about the user, which else makes a new pseudonym.
        """
        self.lock(connection, organization_id)
        of_user = AUDIT_USERS.c.user_digest == self._keys.user_digest(organization_id, user_id)
        salts = delete(AUDIT_USERS).where(AUDIT_USERS.c.organization_id == organization_id, of_user)
        return connection.execute(salts).rowcount

    def forget_users(self, connection: Connection, organization_id: str) -> int:
        """Makes all pseudonyms of an organisation nobody's; how many there were."""
        self.lock(connection, organization_id)
        salts = delete(AUDIT_USERS).where(AUDIT_USERS.c.organization_id == organization_id)
        return connection.execute(salts).rowcount

    def lock(self, connection: Connection, organization_id: str) -> Head:
        """The end of a chain, where nobody else appends until the transaction ends."""
        row = connection.execute(_LOCK_HEAD, {"id": organization_id}).mappings().first()
        if row is None:
            first = Head(organization_id)
            values = {"organization_id": organization_id, "sequence": first.sequence, "hmac": first.hmac}
            connection.execute(insert_of(connection, AUDIT_HEADS).values(values).on_conflict_do_nothing())
            row = connection.execute(_LOCK_HEAD, {"id": organization_id}).mappings().one()
        return Head(**row)

    def _append(self, connection: Connection, organization_id: str, entries: list[AuditEntry]) -> list[AuditRecord]:
        key = self._keys.chain(organization_id)
        head = self.lock(connection, organization_id)
        records: list[AuditRecord] = []
        for entry in entries:
            record = sealed(entry, head, key, self._pseudonym(connection, entry))
            records.append(record)
            head = Head(organization_id, record.sequence, record.hmac)
        connection.execute(insert(AUDIT_RECORDS), [asdict(record) for record in records])
        connection.execute(_MOVE_HEAD, {"id": organization_id, "at": head.sequence, "mac": head.hmac})
        return records

    def _pseudonym(self, connection: Connection, entry: AuditEntry) -> str:
        if not entry.user_id:
            return ""
        digest = self._keys.user_digest(entry.organization_id, entry.user_id)
        salt = connection.execute(_FIND_SALT, {"id": entry.organization_id, "digest": digest}).scalar()
        if salt is None:
            salt = self._new_salt()
            values = {"organization_id": entry.organization_id, "user_digest": digest, "salt": salt}
            connection.execute(insert(AUDIT_USERS).values(values))
        return self._keys.pseudonym(entry.organization_id, entry.user_id, salt)
