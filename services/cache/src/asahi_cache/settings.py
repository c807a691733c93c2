"""What the cache service can be told by environment variables."""

from pydantic import Field, SecretStr, model_validator

from asahi_cache.domain.rules import MAX_TTL_S
from asahi_core.settings import RedisUrl, ServiceSettings

MOST_QUESTIONS = 100_000


class CacheSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X`."""

    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, postgresql://user:password@host/database; empty: SQLite in the data folder.",
    )
    migrate_at_start: bool = Field(
        default=True,
        description="Whether a start brings the database up to date; else `asahi_cache.migrate` does.",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr(""),
        alias="REDIS_URL",
        description="Redis in which replicas share entries and flights; empty: this replica is the only one.",
    )
    cache_advertised_address: str = Field(
        default="",
        description="Where edges reach this replica and no other, host:port, to follow flights that are led here; "
        "empty: `ASAHI_GRPC_ADDRESS`. Needed with `REDIS_URL` where that is no address of one machine.",
    )
    qdrant_url: str = Field(
        default="",
        alias="QDRANT_URL",
        description="Qdrant server for tier 2, https://host:6333; empty: its engine in this process.",
    )
    qdrant_api_key: SecretStr = Field(
        default=SecretStr(""), alias="QDRANT_API_KEY", description="Key of that server; empty: it needs none."
    )
    qdrant_wait_seconds: float = Field(
        default=0.05, gt=0, le=1, description="Longest that a lookup waits for Qdrant; then tier 2 is left aside."
    )
    questions_most: int = Field(
        default=MOST_QUESTIONS,
        ge=100,
        le=10_000_000,
        description="Most questions that are kept in this process without `QDRANT_URL`; 1 000 take 4 MB of disk.",
    )
    cache_max_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1024 * 1024, description="Most bytes of memory that entries take."
    )
    cache_organization_share: float = Field(
        default=0.5, gt=0, le=1, description="Most of `ASAHI_CACHE_MAX_BYTES` that one organisation may take, 0 to 1."
    )
    cache_max_entry_share: float = Field(
        default=0.02, gt=0, le=1, description="Most of `ASAHI_CACHE_MAX_BYTES` that one entry may take, 0 to 1."
    )
    cache_ttl_seconds: float = Field(
        default=86_400, gt=0, le=MAX_TTL_S, description="Seconds that an entry is served if its caller does not say."
    )
    cache_flight_seconds: float = Field(
        default=900, ge=1, le=86_400, description="Longest time of a flight: a request under way that others follow."
    )
    cache_flight_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of memory that answers under way take for their followers; an eighth of it for one.",
    )
    cache_edge_queue: int = Field(
        default=10_000,
        ge=100,
        le=1_000_000,
        description="Messages that may wait for one edge; more end its connection.",
    )
    evidence_shared_by: str = Field(
        default="",
        description="Organisations that asked for it, by id, separated by commas: audits of one's similar answers "
        "count for the others too. Empty: nobody's do.",
    )
    embedding_threads: int = Field(
        default=1, ge=0, le=64, description="Threads of the local embedding model, 200 MB of memory; 0: no model."
    )
    embedding_queue: int = Field(
        default=1_000_000,
        ge=1_000,
        le=100_000_000,
        description="Most characters that wait to be embedded; a thread takes about 45 s for the default.",
    )

    @model_validator(mode="after")
    def _an_entry_fits_its_organization(self) -> "CacheSettings":
        if self.cache_max_entry_share > self.cache_organization_share:
            raise ValueError("ASAHI_CACHE_MAX_ENTRY_SHARE must not be over ASAHI_CACHE_ORGANIZATION_SHARE")
        return self

    @model_validator(mode="after")
    def _is_reached_by_edges(self) -> "CacheSettings":
        host = self.advertised_address.rpartition(":")[0].strip("[]")
        if self.redis_url.get_secret_value() and host in {"", "0.0.0.0", "::"}:  # noqa: S104 - it is refused
            raise ValueError("ASAHI_CACHE_ADVERTISED_ADDRESS is needed with REDIS_URL: host:port of this replica alone")
        return self

    @property
    def evidence_sharers(self) -> frozenset[str]:
        """Organisations that share evidence."""
        return frozenset(one.strip() for one in self.evidence_shared_by.split(",") if one.strip())

    @property
    def advertised_address(self) -> str:
        """Where edges reach this replica and no other, host:port."""
        host, _, port = (self.cache_advertised_address or self.grpc_address).rpartition(":")
        return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"

    @property
    def max_entry_bytes(self) -> int:
        """Most bytes that one serialized entry may have."""
        return int(self.cache_max_bytes * self.cache_max_entry_share)
