"""Databases that cannot be reached, told as callers may see it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from asahi_core.errors import ServiceUnavailable

_RETRY_AFTER_S = 1.0


@contextmanager
def told_as_unavailable(store: str) -> Iterator[None]:
    """Raises ServiceUnavailable where the database did not do what was asked, though the question was right.

    It refused or lost the connection (also in the middle of a transaction, nothing of which stays unless the commit
    itself was under way), took longer than a statement may, ended a deadlock, or had no connection free in time.
    `store` is what callers are told of, for example "store of keys".
    """
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable(store) from error
    except DBAPIError as error:
        if not _may_pass(error):
            raise
        raise _unavailable(store) from error


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same statement can succeed later. SQLite calls errors in SQL itself operational, too."""
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode != sqlite3.SQLITE_ERROR
    return error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)


def _unavailable(store: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"The {store} cannot be reached; try again.", retry_after_s=_RETRY_AFTER_S)
