"""`python -m asahi_auth.copy_database`: copies `auth.db` of ASAHI_DATA_DIR into the empty PostgreSQL of DATABASE_URL.

Stop the auth service before and start it with DATABASE_URL after: what changes in the file later is not copied.
"""

from asahi_auth import wiring
from asahi_auth.settings import AuthSettings
from asahi_core.settings import load_settings, refuse_to_start


def main() -> None:
    """Says how many rows were copied, by table; exit code 78, with one line that says why, if none were."""
    settings = load_settings(AuthSettings, "auth")
    try:
        copied = wiring.copy_to_postgresql(settings)
    except OSError as error:
        refuse_to_start("auth", str(error))
    for table, rows in copied.items():
        print(f"{table}: {rows}")


if __name__ == "__main__":
    main()
