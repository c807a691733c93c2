"""Rows of the tables as values of the domain."""

from typing import Any

from sqlalchemy import RowMapping

from asahi_auth.domain.organizations import ApiKey, Invite, Organization, PolicyVersion
from asahi_auth.domain.scopes import Scope


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
        rate_limits=row["rate_limits"],
        last_used_at=row["last_used_at"],
        rotated_from=row["rotated_from"],
        rotated_to=row["rotated_to"],
        principal_id=row["principal_id"],
    )


def key_values(key: ApiKey) -> dict[str, Any]:
    """The row of a key."""
    return {
        "id": key.id,
        "sha256": key.sha256,
        "hash_scheme": key.hash_scheme,
        "organization_id": key.organization_id,
        "name": key.name,
        "user_id": key.user_id,
        "scopes": list(key.scopes),
        "allowed_models": list(key.allowed_models),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "rate_limits": dict(key.rate_limits),
        "last_used_at": key.last_used_at,
        "rotated_from": key.rotated_from,
        "rotated_to": key.rotated_to,
        "principal_id": key.principal_id,
    }


def organization(row: RowMapping) -> Organization:
    """The organisation in a row of the table of organisations."""
    return Organization(
        id=row["id"],
        name=row["name"],
        user_id=row["user_id"],
        email=row["email"],
        created_at=row["created_at"],
        policy_version=row["policy_version"],
        suspended_at=row["suspended_at"],
        deleted_at=row["deleted_at"],
    )


def policy_version(row: RowMapping) -> PolicyVersion:
    """The policy in a row of the table of policies."""
    return PolicyVersion(row["settings"], row["version"], row["updated_at"], row["updated_by"])


def invite(row: RowMapping) -> Invite:
    """The invite in a row of the table of invites."""
    return Invite(
        id=row["id"],
        code_sha256=row["code_sha256"],
        note=row["note"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
        organization_id=row["organization_id"],
    )
