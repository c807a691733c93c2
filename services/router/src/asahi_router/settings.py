"""What the router service can be told by environment variables."""

import os
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from asahi_core.settings import ServiceSettings


class RouterSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X` unless an alias is given."""

    openai_api_key: SecretStr = Field(
        default=SecretStr(""), alias="OPENAI_API_KEY", description="OpenAI's models are served if it is set."
    )
    openai_base_url: str = Field(
        default="https://api.openai.com/v1", alias="OPENAI_BASE_URL", description="OpenAI's API, or a stand-in."
    )
    openai_responses: bool = Field(
        default=True,
        description="Whether the server at `OPENAI_BASE_URL` speaks OpenAI's responses; if not, they are translated.",
    )
    anthropic_api_key: SecretStr = Field(
        default=SecretStr(""), alias="ANTHROPIC_API_KEY", description="Anthropic's models are served if it is set."
    )
    anthropic_base_url: str = Field(
        default="https://api.anthropic.com", alias="ANTHROPIC_BASE_URL", description="Anthropic's API, or a stand-in."
    )
    simulator_url: str = Field(
        default="", description="The provider simulator, which serves all models while neither of these keys is set."
    )
    providers_file: Path | None = Field(default=None, description="More providers (YAML, see the README).")
    catalog_file: Path | None = Field(default=None, description="More models, or other figures (YAML, see the README).")
    baseline_model: str = Field(
        default="", description="Model that savings and quality are measured against; empty: the catalog's."
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, postgresql://user:password@host/database; empty: SQLite in the data folder.",
    )
    migrate_at_start: bool = Field(
        default=True,
        description="Whether a start brings the database up to date; else `asahi_router.migrate` does.",
    )
    billing_target: str = Field(
        default="127.0.0.1:50054", description="The billing service, for calls whose caller vanished."
    )
    cache_target: str = Field(
        default="", description="The cache service, whose own model embeds texts; empty: that model is not served."
    )
    retries: int = Field(default=2, ge=0, le=10, description="Most further calls to a model that failed.")
    retry_budget: float = Field(
        default=10.0, ge=0, le=1e6, description="Retries that one provider may be owed at once; an answer earns 0.2."
    )
    breaker_failures: int = Field(
        default=5, ge=1, le=1_000_000, description="Failures in a row after which a model is left alone for a while."
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, le=60, description="Seconds that an answer is still read whose caller vanished."
    )
    drain_cost: float = Field(default=0.01, ge=0, le=10, description="Dollars that a call may cost to be read on so.")

    outcomes_in_memory: int = Field(
        default=20_000,
        ge=1_000,
        le=1_000_000,
        description="Judged answers that decisions learn from, of all organisations; about 3 kB each.",
    )

    @field_validator("openai_base_url", "anthropic_base_url", "simulator_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    @field_validator("openai_api_key", "anthropic_api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if text != text.strip() or not text.isascii() or not text.isprintable():
            raise ValueError("only printable ASCII without blanks around it can be sent as a header")
        return key


def provider_key(variable: str) -> SecretStr:
    """The key in an environment variable that a provider file names; empty: it is not set."""
    return SecretStr(os.environ.get(variable, ""))
