"""Erasing outcomes and examples, with when it was done last in each organisation: other processes forget by that."""

from datetime import UTC, datetime

from sqlalchemy import Connection, delete, or_, select, text, update

from asahi_core.sql.upserts import insert_of
from asahi_router.domain.erasure import Erased
from asahi_router.stores.tables import ERASURES, EXAMPLES, OUTCOMES, storable


def erase(connection: Connection, organization_id: str, user_id: str, at: datetime) -> Erased:
    """Drops what is of an end user, also what was said of their requests under no name, or (empty) of all."""
    _note(connection, organization_id, at)
    outcomes = delete(OUTCOMES).where(OUTCOMES.c.organization_id == organization_id)
    examples = delete(EXAMPLES).where(EXAMPLES.c.organization_id == organization_id)
    if user_id:
        name = storable(user_id)
        asked = select(EXAMPLES.c.request_id).where(
            EXAMPLES.c.organization_id == organization_id, EXAMPLES.c.user_id == name
        )
        outcomes = outcomes.where(or_(OUTCOMES.c.user_id == name, OUTCOMES.c.request_id.in_(asked)))
        examples = examples.where(EXAMPLES.c.user_id == name)
    return Erased(connection.execute(outcomes).rowcount, connection.execute(examples).rowcount)


def withdraw(connection: Connection, organization_id: str, at: datetime) -> None:
    """Shares nothing of an organisation any more; that it is read anew is noted as an erasure is."""
    _note(connection, organization_id, at)
    connection.execute(update(EXAMPLES).where(EXAMPLES.c.organization_id == organization_id).values(shared=False))


def _note(connection: Connection, organization_id: str, at: datetime) -> None:
    note = insert_of(connection, ERASURES).values(organization_id=organization_id, erased_at=at)
    connection.execute(note.on_conflict_do_update(index_elements=["organization_id"], set_={"erased_at": at}))


def when(connection: Connection, *, to_write: bool = False) -> dict[str, datetime]:
    """When something was erased last, by organisation; `to_write`: nothing is erased until the transaction ends."""
    if to_write and connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(text("LOCK TABLE erasures IN SHARE MODE"))
    return {row.organization_id: row.erased_at.replace(tzinfo=UTC) for row in connection.execute(select(ERASURES))}
