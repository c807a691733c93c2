"""Rows of the tables, also of several joined, as values of the domain."""

from typing import Any

from sqlalchemy import RowMapping

from asahi_auth.domain.organizations import ApiKey, Invite, Organization, PolicyVersion, Principal
from asahi_auth.domain.scopes import Scope
from asahi_auth.stores.tables import API_KEYS, INVITES, ORGANIZATIONS, POLICIES

_KEY, _ORGANIZATION, _POLICY, _INVITE = API_KEYS.c, ORGANIZATIONS.c, POLICIES.c, INVITES.c


def api_key(row: RowMapping) -> ApiKey:
    """The key in a row of the table of keys."""
    return ApiKey(
        id=row[_KEY.id],
        sha256=row[_KEY.sha256],
        hash_scheme=row[_KEY.hash_scheme],
        organization_id=row[_KEY.organization_id],
        name=row[_KEY.name],
        user_id=row[_KEY.user_id],
        scopes=tuple(map(Scope, row[_KEY.scopes])),
        allowed_models=tuple(row[_KEY.allowed_models]),
        created_at=row[_KEY.created_at],
        created_by=row[_KEY.created_by],
        expires_at=row[_KEY.expires_at],
        revoked_at=row[_KEY.revoked_at],
        revoked_by=row[_KEY.revoked_by],
        rate_limits=row[_KEY.rate_limits],
        budgets=tuple(row[_KEY.budgets]),
        last_used_at=row[_KEY.last_used_at],
        rotated_from=row[_KEY.rotated_from],
        rotated_to=row[_KEY.rotated_to],
        principal_id=row[_KEY.principal_id],
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
        "budgets": list(map(dict, key.budgets)),
        "last_used_at": key.last_used_at,
        "rotated_from": key.rotated_from,
        "rotated_to": key.rotated_to,
        "principal_id": key.principal_id,
    }


def organization(row: RowMapping) -> Organization:
    """The organisation in a row of the table of organisations."""
    return Organization(
        id=row[_ORGANIZATION.id],
        name=row[_ORGANIZATION.name],
        user_id=row[_ORGANIZATION.user_id],
        email=row[_ORGANIZATION.email],
        created_at=row[_ORGANIZATION.created_at],
        policy_version=row[_ORGANIZATION.policy_version],
        suspended_at=row[_ORGANIZATION.suspended_at],
        deleted_at=row[_ORGANIZATION.deleted_at],
    )


def policy_version(row: RowMapping) -> PolicyVersion:
    """The policy in a row of the table of policies."""
    return PolicyVersion(row[_POLICY.settings], row[_POLICY.version], row[_POLICY.updated_at], row[_POLICY.updated_by])


def principal(row: RowMapping) -> Principal:
    """The key, its organisation and the policy of that in a row of all three tables; the policy may be absent."""
    changed = row[_POLICY.version] is not None
    return Principal(api_key(row), organization(row), policy_version(row) if changed else PolicyVersion())


def invite(row: RowMapping) -> Invite:
    """The invite in a row of the table of invites."""
    return Invite(
        id=row[_INVITE.id],
        code_sha256=row[_INVITE.code_sha256],
        note=row[_INVITE.note],
        created_at=row[_INVITE.created_at],
        expires_at=row[_INVITE.expires_at],
        used_at=row[_INVITE.used_at],
        organization_id=row[_INVITE.organization_id],
    )
