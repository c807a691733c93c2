"""What the billing service can be told by environment variables."""

from pydantic import Field, SecretStr, field_validator

from asahi_billing.domain.alert_targets import rules_of
from asahi_billing.domain.rules import MAX_RECORDS
from asahi_core.settings import ServiceSettings


class BillingSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X`."""

    billing_queue_records: int = Field(
        default=20_000, ge=MAX_RECORDS, description="Most usage records that wait to be written; more are turned away."
    )
    billing_read_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Longest time of one question to the ledger, in seconds."
    )
    billing_sweep_seconds: float = Field(
        default=1.0, gt=0, le=60, description="Seconds between looks for holds that nobody renews."
    )
    billing_check_seconds: float = Field(
        default=3600.0, gt=0, le=86_400, description="Seconds between checks of the whole ledger."
    )
    alert_targets: str = Field(
        default="",
        description="Where alerts may go beside public https addresses, by commas: networks as 10.0.0.0/8, origins as "
        "http://alerts.internal:8080.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, postgresql://user:password@host/database; empty: SQLite in the data folder.",
    )
    migrate_at_start: bool = Field(
        default=True,
        description="Whether a start brings the database up to date; else `asahi_billing.migrate` does.",
    )

    @field_validator("alert_targets")
    @classmethod
    def _check_alert_targets(cls, listed: str) -> str:
        rules_of(listed)
        return listed
