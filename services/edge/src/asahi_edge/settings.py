"""What the edge can be told through the environment."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from asahi_core.settings import RedisUrl, ServiceSettings


class EdgeSettings(ServiceSettings):
    """Settings of the edge."""

    http_address: str = Field(default="127.0.0.1:8000", description="Address that HTTP is served on, host:port.")
    public_tls_certificate: Path | None = Field(
        default=None,
        description="PEM file of the certificate, with its chain, that callers over HTTP and gRPC are shown; "
        "none: plain text, TLS ends in front.",
    )
    public_tls_key: Path | None = Field(default=None, description="PEM file of the certificate's key, not encrypted.")
    auth_target: str = Field(default="127.0.0.1:50051", description="The auth service: host:port or dns:///host:port.")
    cache_target: str = Field(default="127.0.0.1:50052", description="The cache service.")
    router_target: str = Field(default="127.0.0.1:50053", description="The router service.")
    billing_target: str = Field(default="127.0.0.1:50054", description="The billing service.")
    admin_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Opens governance of every organisation (X-Admin-Secret); empty: nobody has it.",
    )
    auth_fresh_seconds: float = Field(default=5.0, gt=0, le=60, description="Seconds that a verdict on a key is kept.")
    auth_grace: float = Field(
        default=60.0, ge=0, le=3600, description="Seconds that a verdict is stretched while auth does not answer."
    )
    request_timeout_seconds: float = Field(default=600.0, gt=0, le=3600, description="Longest time of one request.")
    cache_timeout_seconds: float = Field(default=0.25, gt=0, le=10, description="Longest time of a cache lookup.")
    reserve_timeout_seconds: float = Field(
        default=2.0, gt=0, le=10, description="Longest time that billing has to hold money for a call."
    )
    near_cache_bytes: int = Field(
        default=64 * 1024 * 1024, ge=0, description="Most bytes of copies of cached answers kept at the edge; 0: none."
    )
    similar_characters: int = Field(
        default=400,
        ge=0,
        le=2000,
        description="Most characters of a question that is compared with similar ones; 0: none is. "
        "Reading 400 takes the cache service 10 ms of CPU, 1600 take 42.",
    )
    shadow_questions: int = Field(
        default=4,
        ge=0,
        le=1000,
        description="Questions that a second model is asked at the same time, by policy; those beyond are left out.",
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, le=60, description="Seconds that an answer is still read whose last caller has left."
    )
    drain_cost: float = Field(
        default=0.01, ge=0, le=10, description="Dollars that a call may be expected to cost to be read to its end so."
    )
    spool_max_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of usage that wait on disk for billing; above, new requests are refused.",
    )
    spool_persistent: bool = Field(
        default=True,
        description="Whether the data folder outlives the container; if not, answers wait for billing.",
    )
    spool_sync: Literal["grouped", "always"] = Field(
        default="grouped", description="`grouped`: 10 ms of usage at risk on power loss; `always`: none, answers wait."
    )
    orphan_settle_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="Seconds after start until calls of a killed process are estimated."
    )
    connection_seconds: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="Age at which the next answer ends an HTTP connection, so that new edges get callers; 0: never.",
    )
    max_header_bytes: int = Field(
        default=64 * 1024, ge=4096, le=512 * 1024, description="Most bytes of a request's headers and URL together."
    )
    redis_url: RedisUrl = Field(
        default=SecretStr(""),
        alias="REDIS_URL",
        description="Redis in which edges share rate limits; empty: each counts by itself.",
    )
    max_concurrent: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Most inference requests under way here; an organization has a share of them.",
    )
    trusted_proxies: str = Field(
        default="", description="Networks (CIDR, separated by commas) of proxies whose X-Forwarded-For counts."
    )
    signups_per_minute: int = Field(
        default=60, ge=1, description="Most signups a minute from one address (IPv6: one /64) at this edge."
    )
    unknown_keys_per_minute: int = Field(
        default=300, ge=1, description="Most unknown keys a minute from one address that auth is asked about."
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=32 * 1024 * 1024, description="Largest body.")
    all_bodies_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of all bodies under way; above, new ones are refused. A byte takes about 6 of memory.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks_in(value)
        return value


def networks_in(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks in a list separated by commas; raises ValueError."""
    return tuple(ip_network(one.strip()) for one in value.split(",") if one.strip())
