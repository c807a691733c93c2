"""`python -m asahi_cache.migrate`: brings the database to this version's schema, or with `--wait` waits for it."""

import sys

from asahi_cache import wiring
from asahi_cache.settings import CacheSettings
from asahi_core.settings import load_settings, refuse_to_start
from asahi_core.sql.migration import MigrationFailed, bring_up, migration_options


def main() -> None:
    """Says what it does; exit code 78, with one line that says why, if it cannot be done."""
    options = migration_options("cache", sys.argv[1:])
    settings = load_settings(CacheSettings, "cache")
    try:
        database = wiring.database(settings)
        bring_up(database, wiring.SCHEMA, only_wait=options.wait, within_s=options.seconds, tell=_tell)
    except (OSError, MigrationFailed) as error:
        refuse_to_start("cache", str(error))


def _tell(message: str) -> None:
    print(f"asahi-cache: {message}", flush=True)


if __name__ == "__main__":
    main()
