"""Changes as entries of the audit chains."""

from sqlalchemy import Connection

from asahi_auth.domain.audit import AuditEntry
from asahi_auth.domain.changes import Change
from asahi_auth.stores.audit import AuditChains

_ERASES_A_USER = "user.erase"
_ERASES_ALL_USERS = "organization.delete"


class ChangeAppender:
    """Appends changes to the chains, in the transactions that make them."""

    def __init__(self, chains: AuditChains) -> None:
        self._chains = chains

    def __call__(self, connection: Connection, change: Change) -> None:
        """Writes the change; then, where it erases end users, makes their pseudonyms nobody's."""
        entry = AuditEntry(
            organization_id=change.organization_id,
            occurred_at=change.occurred_at,
            actor=change.origin.actor,
            action=change.action,
            target=change.target,
            details=change.details,
            address=change.origin.address,
            request_id=change.request_id,
            user_id=change.user_id,
        )
        self._chains.append(connection, entry)
        if change.action == _ERASES_A_USER:
            self._chains.forget_user(connection, change.organization_id, change.user_id)
        elif change.action == _ERASES_ALL_USERS:
            self._chains.forget_users(connection, change.organization_id)
