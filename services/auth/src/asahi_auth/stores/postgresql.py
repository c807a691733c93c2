"""PostgreSQL as the auth service uses it: a bounded pool, a limit on every statement."""

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

_CONNECT_S = 3
_POOL_WAIT_S = 2.0
_STATEMENT_MS = 5000


def open_postgresql(url: str, connections: int) -> Engine:
    """An engine of at most `connections` connections; each is tried before it is used.

    Raises:
        ValueError: `url` is no URL of PostgreSQL; the message does not repeat it.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("DATABASE_URL is no URL; it takes postgresql://user:password@host/database") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("DATABASE_URL is of no database that can be used; it takes postgresql://…")
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        pool_pre_ping=True,
        # Parameters stay out of errors: they hold addresses of people and hashes of keys.
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_S,
            "application_name": "asahi-auth",
            "options": f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_STATEMENT_MS}",
        },
    )
