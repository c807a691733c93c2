"""What the auth service can be told by environment variables."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from asahi_core.settings import ServiceSettings


class AuthSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X`."""

    signup: Literal["open", "invite", "closed"] = Field(
        default="closed", description="Who may make an organisation: anybody, who has an `invite`, or nobody."
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, postgresql://user:password@host/database; empty: SQLite in the data folder.",
    )
    migrate_at_start: bool = Field(
        default=True,
        description="Whether a start brings the database up to date; else `asahi_auth.migrate` does.",
    )
    audit_key: SecretStr = Field(
        default=SecretStr(""),
        description="Secret of the audit chains, 32 characters or more; empty: made once, in the data folder.",
    )
    oidc_issuer: str = Field(
        default="", description="Address of the OIDC issuer whose tokens people come with; empty: people have none."
    )
    oidc_audience: str = Field(default="asahi", min_length=1, description="What the tokens' `aud` must contain.")
    oidc_organization_claim: str = Field(
        default="organization_id", min_length=1, description="The claim with the organization's id; dots lead inside."
    )
    oidc_scopes_claim: str = Field(
        default="groups", min_length=1, description="The claim with what scopes are given for; dots lead inside."
    )
    oidc_scopes: dict[str, Literal["analytics", "admin", "all"]] = Field(
        default_factory=dict, description='The scope for each value of that claim, JSON: {"finance": "analytics"}.'
    )
    oidc_clock_skew_seconds: float = Field(
        default=30.0, ge=0, le=300, description="Seconds by which the issuer's clock may differ."
    )

    @field_validator("oidc_issuer")
    @classmethod
    def _is_secure(cls, value: str) -> str:
        address = urlsplit(value)
        on_loopback = address.scheme == "http" and address.hostname in ("127.0.0.1", "::1", "localhost")
        if value and not on_loopback and not (address.scheme == "https" and address.hostname):
            raise ValueError("an https address is needed; http is accepted on loopback only")
        return value
