"""Typed settings from environment variables, validated before anything starts.

Each service declares a subclass; nothing else reads the environment. A wrong value ends the process with one line that
names the variable, the value's fault and what is accepted, and exit code 78 (EX_CONFIG of sysexits.h).
"""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from asahi_core.redis.address import is_redis

SettingsT = TypeVar("SettingsT", bound="ServiceSettings")
_SERVICE_TOKEN = re.compile(r"(edge|auth|cache|router|billing|operator):[A-Za-z0-9._~+/=-]{32,200}")


def _of_redis(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not is_redis(value.get_secret_value()):
        raise ValueError(
            "an address such as redis://host:6379/0, rediss:// for TLS, or redis+sentinel://host:26379,host:26379/name/0"
        )
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_of_redis)]
"""Address of a Redis, with its password; empty: none."""


class ServiceSettings(BaseSettings):
    """What every service can be told. Field `x` is the variable `ASAHI_X` unless an alias is given."""

    model_config = SettingsConfigDict(
        env_prefix="ASAHI_", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    grpc_address: str = Field(default="127.0.0.1:0", description="Address that the gRPC server listens on, host:port.")
    metrics_address: str = Field(
        default="", description="Address of the Prometheus metrics page, host:port; empty: no page."
    )
    health_address: str = Field(
        default="",
        description="Address of a second gRPC server that tells health alone and asks nobody who they are, for probes; "
        "empty: none.",
    )
    data_dir: Path = Field(default=Path(".asahi"), description="Folder of the embedded stores.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["json", "text"] = Field(
        default="json", description="`json`: one object a line; `text`: for people."
    )
    shutdown_grace_seconds: float = Field(
        default=20.0, ge=0, le=3600, description="Seconds that calls under way have after SIGTERM."
    )
    otlp_endpoint: str = Field(
        default="", alias="OTEL_EXPORTER_OTLP_ENDPOINT", description="OpenTelemetry collector (gRPC); empty: no traces."
    )
    trace_ratio: float = Field(default=0.01, ge=0, le=1, description="Share of requests that are traced, 0 to 1.")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of this service's certificate, for calls between services."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's key.")
    tls_ca: Path | None = Field(default=None, description="PEM file of the authority of all services' certificates.")
    service_token: SecretStr = Field(
        default=SecretStr(""), description="What this service proves itself with, `name:secret`, without certificates."
    )
    accepted_service_tokens: SecretStr = Field(
        default=SecretStr(""), description="Tokens of the services that may call this one, separated by commas."
    )

    @field_validator("service_token", "accepted_service_tokens")
    @classmethod
    def _are_tokens(cls, value: SecretStr) -> SecretStr:
        for token in filter(None, value.get_secret_value().split(",")):
            if _SERVICE_TOKEN.fullmatch(token) is None:
                raise ValueError("a token is 'name:secret', the secret 32 to 200 of A-Z a-z 0-9 . _ ~ + / = -")
        return value

    @field_validator("service_token")
    @classmethod
    def _is_one_token(cls, value: SecretStr) -> SecretStr:
        if "," in value.get_secret_value():
            raise ValueError("one token, without a comma; those of callers go into ASAHI_ACCEPTED_SERVICE_TOKENS")
        return value


def load_settings(settings: type[SettingsT], service: str) -> SettingsT:
    """`settings` from the environment, or the end of the process with a message on stderr."""
    try:
        return settings()
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else "settings"
            variable = name if name.isupper() else f"ASAHI_{name.upper()}"
            print(f"asahi-{service}: {variable}: {problem['msg']}", file=sys.stderr)
        sys.exit(os.EX_CONFIG)


def refuse_to_start(service: str, reason: str) -> NoReturn:
    """Ends the process with one line that says what is wrong and how to mend it, and exit code 78."""
    print(f"asahi-{service}: {reason}", file=sys.stderr)
    sys.exit(os.EX_CONFIG)
