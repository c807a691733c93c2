"""Changes to organisations and keys in one transaction of an SQL database."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select, update

from asahi_auth.domain.organizations import ApiKey, Organization
from asahi_auth.domain.scopes import Scope
from asahi_auth.stores.tables import API_KEYS, ORGANIZATIONS, REVOCATION_HEAD, REVOCATIONS


class SqlTransaction:
    """A `Transaction` on a connection that has begun one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def has_organization(self, organization_id: str) -> bool:
        """Whether there is such an organisation."""
        query = select(ORGANIZATIONS.c.id).where(ORGANIZATIONS.c.id == organization_id)
        return self._connection.execute(query).first() is not None

    def key(self, key_id: str) -> ApiKey | None:
        """The key, which nobody else changes until the transaction ends."""
        query = select(API_KEYS).where(API_KEYS.c.id == key_id).with_for_update()
        row = self._connection.execute(query).mappings().first()
        return api_key(row) if row is not None else None

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

    def add_key(self, key: ApiKey) -> None:
        """Adds a key with a new id."""
        self._connection.execute(
            insert(API_KEYS).values(
                id=key.id,
                sha256=key.sha256,
                hash_scheme=key.hash_scheme,
                organization_id=key.organization_id,
                name=key.name,
                user_id=key.user_id,
                scopes=list(key.scopes),
                allowed_models=list(key.allowed_models),
                created_at=key.created_at,
                created_by=key.created_by,
                expires_at=key.expires_at,
                revoked_at=key.revoked_at,
                revoked_by=key.revoked_by,
            )
        )

    def revoke_key(self, key_id: str, at: datetime, by: str) -> None:
        """Marks a key as revoked, and makes that a `Revocation`."""
        self._connection.execute(update(API_KEYS).where(API_KEYS.c.id == key_id).values(revoked_at=at, revoked_by=by))
        # The head's row stays locked until the commit: sequences become visible in their order.
        next_sequence = update(REVOCATION_HEAD).values(sequence=REVOCATION_HEAD.c.sequence + 1)
        sequence = self._connection.execute(next_sequence.returning(REVOCATION_HEAD.c.sequence)).scalar_one()
        self._connection.execute(insert(REVOCATIONS).values(sequence=sequence, api_key_id=key_id))


def api_key(row: RowMapping) -> ApiKey:
    """The key in a row of the table of keys."""
    return ApiKey(
        id=row["id"],
        sha256=row["sha256"],
        hash_scheme=row["hash_scheme"],
        organization_id=row["organization_id"],
        name=row["name"],
        user_id=row["user_id"],
        scopes=tuple(map(Scope, row["scopes"])),
        allowed_models=tuple(row["allowed_models"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
    )
