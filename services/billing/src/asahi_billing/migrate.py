"""`python -m asahi_billing.migrate`: brings the database to this version's schema, or with `--wait` waits for it."""

import sys

from asahi_billing import wiring
from asahi_billing.settings import BillingSettings
from asahi_core.settings import load_settings, refuse_to_start
from asahi_core.sql.migration import MigrationFailed, bring_up, migration_options


def main() -> None:
    """Says what it does; exit code 78, with one line that says why, if it cannot be done."""
    options = migration_options("billing", sys.argv[1:])
    settings = load_settings(BillingSettings, "billing")
    try:
        database = wiring.database(settings)
        bring_up(database, wiring.SCHEMA, only_wait=options.wait, within_s=options.seconds, tell=_tell)
    except (OSError, MigrationFailed) as error:
        refuse_to_start("billing", str(error))


def _tell(message: str) -> None:
    print(f"asahi-billing: {message}", flush=True)


if __name__ == "__main__":
    main()
