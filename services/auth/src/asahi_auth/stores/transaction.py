"""Changes in one transaction of an SQL database.

Rows are locked in one order, so that changes never wait for each other in a circle: invite, organisation (and with it
its keys and policies), what the audit chain locks, and last the head of the revocations, which is everybody's and stays
locked until the commit. Keys have no locks of their own: a caller may name another organisation's.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, RowMapping, delete, insert, select, update

from asahi_auth.domain.changes import Change
from asahi_auth.domain.organizations import ApiKey, Invite, Organization, PolicyVersion
from asahi_auth.stores import rows
from asahi_auth.stores.tables import API_KEYS, INVITES, ORGANIZATIONS, POLICIES, REVOCATION_HEAD, REVOCATIONS

Append = Callable[[Connection, Change], None]
"""Appends a change to the audit chain, in the transaction that the connection has begun."""


class SqlTransaction:
    """A `Transaction` on a connection that has begun one, to be finished before that is committed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changes: list[Change] = []
        self._news: list[dict[str, str]] = []

    def audit(self, change: Change) -> None:
        """Writes to the audit chain, when all else of the transaction is done, what it changes."""
        self._changes.append(change)

    def finish(self, append: Append | None) -> None:
        """Appends what was changed to the audit chain, the installation's last, and makes the `Revocation`s."""
        if append is not None:
            for change in sorted(self._changes, key=lambda change: change.organization_id, reverse=True):
                append(self._connection, change)
        for news in self._news:
            # The head's row stays locked until the commit: sequences become visible in their order.
            next_sequence = update(REVOCATION_HEAD).values(sequence=REVOCATION_HEAD.c.sequence + 1)
            sequence = self._connection.execute(next_sequence.returning(REVOCATION_HEAD.c.sequence)).scalar_one()
            self._connection.execute(insert(REVOCATIONS).values(sequence=sequence, **news))

    def organization(self, organization_id: str) -> Organization | None:
        """The organisation, which nobody else changes until the transaction ends."""
        row = self._first(select(ORGANIZATIONS).where(ORGANIZATIONS.c.id == organization_id).with_for_update())
        return rows.organization(row) if row is not None else None

    def key(self, key_id: str) -> ApiKey | None:
        """The key, which nobody else changes until the transaction ends, if its organisation was read before."""
        row = self._first(select(API_KEYS).where(API_KEYS.c.id == key_id))
        return rows.api_key(row) if row is not None else None

    def invite_of(self, code_sha256: bytes) -> Invite | None:
        """The invite with this code, which nobody else uses until the transaction ends."""
        row = self._first(select(INVITES).where(INVITES.c.code_sha256 == code_sha256).with_for_update())
        return rows.invite(row) if row is not None else None

    def invite(self, invite_id: str) -> Invite | None:
        """The invite, which nobody else uses until the transaction ends."""
        row = self._first(select(INVITES).where(INVITES.c.id == invite_id).with_for_update())
        return rows.invite(row) if row is not None else None

    def policy(self, organization: Organization) -> PolicyVersion:
        """The present policy of an organisation of this transaction."""
        query = select(POLICIES).where(
            POLICIES.c.organization_id == organization.id, POLICIES.c.version == organization.policy_version
        )
        row = self._first(query)
        return rows.policy_version(row) if row is not None else PolicyVersion()

    def add_organization(self, organization: Organization) -> None:
        """Adds an organisation with a new id."""
        self._connection.execute(
            insert(ORGANIZATIONS).values(
                id=organization.id,
                name=organization.name,
                user_id=organization.user_id,
                email=organization.email,
                created_at=organization.created_at,
            )
        )

    def suspend(self, organization_id: str, at: datetime | None) -> None:
        """Suspends an organisation, or ends that; its verdicts hold no longer."""
        self._change_organization(organization_id, suspended_at=at)

    def delete_organization(self, organization_id: str, at: datetime) -> dict[str, int]:
        """Empties an organisation; how many rows went, by table. Its verdicts hold no longer."""
        erased = {
            "keys": self._connection.execute(delete(API_KEYS).where(API_KEYS.c.organization_id == organization_id)),
            "policies": self._connection.execute(delete(POLICIES).where(POLICIES.c.organization_id == organization_id)),
            "invites": self._connection.execute(
                update(INVITES)
                .where(INVITES.c.organization_id == organization_id, INVITES.c.note != "")
                .values(note="")
            ),
        }
        self._change_organization(organization_id, name="", user_id="", email="", policy_version=0, deleted_at=at)
        return {name: result.rowcount for name, result in erased.items()}

    def add_key(self, key: ApiKey) -> None:
        """Adds a key with a new id."""
        self._connection.execute(insert(API_KEYS).values(**rows.key_values(key)))

    def revoke_key(self, key_id: str, at: datetime, by: str) -> None:
        """Marks a key as revoked, and makes that a `Revocation`."""
        self._change_key(key_id, revoked_at=at, revoked_by=by)

    def replace_key(self, key_id: str, by: str, expires_at: datetime) -> None:
        """Says which key replaced it, and when it ends; a `Revocation`, for verdicts say otherwise."""
        self._change_key(key_id, rotated_to=by, expires_at=expires_at)

    def add_policy(self, organization_id: str, policy: PolicyVersion) -> None:
        """Makes a policy the present one of an organisation that this transaction has read."""
        self._connection.execute(
            insert(POLICIES).values(
                organization_id=organization_id,
                version=policy.version,
                settings=dict(policy.settings),
                updated_at=policy.updated_at,
                updated_by=policy.updated_by,
            )
        )
        self._change_organization(organization_id, policy_version=policy.version)

    def add_invite(self, invite: Invite) -> None:
        """Adds an invite with a new id."""
        self._connection.execute(
            insert(INVITES).values(
                id=invite.id,
                code_sha256=invite.code_sha256,
                note=invite.note,
                created_at=invite.created_at,
                expires_at=invite.expires_at,
                used_at=None,
                organization_id="",
            )
        )

    def use_invite(self, invite_id: str, at: datetime, organization_id: str) -> None:
        """Says who used an invite."""
        used = update(INVITES).where(INVITES.c.id == invite_id)
        self._connection.execute(used.values(used_at=at, organization_id=organization_id))

    def delete_invite(self, invite_id: str) -> None:
        """Drops an invite."""
        self._connection.execute(delete(INVITES).where(INVITES.c.id == invite_id))

    def erase_user(self, organization_id: str, user_id: str) -> dict[str, int]:
        """Drops an end user's name wherever it stands in an organisation; how many rows had it, by table."""
        of_keys = update(API_KEYS).where(API_KEYS.c.organization_id == organization_id, API_KEYS.c.user_id == user_id)
        of_organization = update(ORGANIZATIONS).where(
            ORGANIZATIONS.c.id == organization_id, ORGANIZATIONS.c.user_id == user_id
        )
        erased = {
            "organizations": self._connection.execute(of_organization.values(user_id="", email="")).rowcount,
            "keys": self._connection.execute(of_keys.values(user_id="")).rowcount,
        }
        self._tell(organization_id=organization_id)
        return erased

    def _change_organization(self, organization_id: str, **values: Any) -> None:
        self._connection.execute(update(ORGANIZATIONS).where(ORGANIZATIONS.c.id == organization_id).values(**values))
        self._tell(organization_id=organization_id)

    def _change_key(self, key_id: str, **values: Any) -> None:
        self._connection.execute(update(API_KEYS).where(API_KEYS.c.id == key_id).values(**values))
        self._tell(api_key_id=key_id)

    def _tell(self, *, api_key_id: str = "", organization_id: str = "") -> None:
        self._news.append({"api_key_id": api_key_id, "organization_id": organization_id})

    def _first(self, query: Executable) -> RowMapping | None:
        return self._connection.execute(query).mappings().first()
