"""What the command can be told by options and environment variables; nothing else reads the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asahi_cli.credentials import Credentials, read_credentials
from asahi_cli.errors import CommandError, WrongConfiguration

DEFAULT_DATA_DIR = Path(".asahi")
_PROVIDERS = {"OPENAI_API_KEY": "OPENAI_BASE_URL", "ANTHROPIC_API_KEY": "ANTHROPIC_BASE_URL"}
_PROVIDER_VARIABLES = (*_PROVIDERS, *_PROVIDERS.values())
_NETWORK_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SYSTEM_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
_OWN_VARIABLES = {
    "ASAHI_URL", "ASAHI_API_KEY", "ASAHI_ORGANIZATION_ID", "ASAHI_ADMIN_SECRET", "ASAHI_DATA_DIR",
    "ASAHI_GRPC_PORT_BASE", "ASAHI_METRICS_PORT_BASE", "ASAHI_SIMULATOR_URL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LaptopSettings:
    """What `asahi up` was told."""

    data_dir: Path
    http_port: int
    """0: any free one; so are the bases below."""
    grpc_port_base: int
    metrics_port_base: int
    admin_secret: str = field(repr=False)
    """Empty: the one that is kept, else a new one."""
    provider: Mapping[str, str] = field(repr=False)
    """Provider keys, base URLs and the way there: the router's alone."""
    shared: Mapping[str, str] = field(repr=False)
    """What every program gets: the user's other ASAHI_* and OTEL_*, and what any program of this machine needs."""

    @property
    def simulated(self) -> bool:
        """Whether the provider simulator answers, because no provider key is set."""
        return not any(key in self.provider for key in _PROVIDERS)

    @property
    def unused(self) -> tuple[str, ...]:
        """Base URLs that are set without the key that would make them count."""
        return tuple(url for key, url in _PROVIDERS.items() if url in self.provider and key not in self.provider)


def laptop_settings(
    environ: Mapping[str, str],
    *,
    http_port: int | None = None,
    grpc_port_base: int | None = None,
    metrics_port_base: int | None = None,
    data_dir: Path | None = None,
) -> LaptopSettings:
    """Options go before the environment.

    Raises:
        WrongConfiguration: a value cannot be used.
    """
    secret = environ.get("ASAHI_ADMIN_SECRET", "")
    if not secret.isprintable() or secret != secret.strip() or not secret.isascii():
        raise WrongConfiguration(
            "ASAHI_ADMIN_SECRET: only printable ASCII without blanks around it can be sent as a header; choose another"
        )
    network = {
        name: environ[name] for known in _NETWORK_VARIABLES for name in (known, known.lower()) if name in environ
    }
    shared = {
        name: value
        for name, value in environ.items()
        if name in _SYSTEM_VARIABLES
        or name.startswith("LC_")
        or (name.startswith(("ASAHI_", "OTEL_")) and name not in _OWN_VARIABLES)
    }
    return LaptopSettings(
        data_dir=_data_dir(environ, data_dir).absolute(),
        http_port=_port("PORT", 8000, 0, environ, http_port),
        grpc_port_base=_port("ASAHI_GRPC_PORT_BASE", 50050, 4, environ, grpc_port_base),
        metrics_port_base=_port("ASAHI_METRICS_PORT_BASE", 9100, 4, environ, metrics_port_base),
        admin_secret=secret,
        provider={name: environ[name] for name in _PROVIDER_VARIABLES if environ.get(name)} | network,
        shared=shared,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Where the tools find Asahi, and with which key."""

    url: str
    api_key: str = field(repr=False)
    data_dir: Path
    source: str
    """Where URL and key come from, for people."""


def access(environ: Mapping[str, str], data_dir: Path | None = None) -> Access:
    """From ASAHI_URL and ASAHI_API_KEY; what is not set comes from laptop mode's credentials."""
    folder = _data_dir(environ, data_dir)
    url, key = environ.get("ASAHI_URL", ""), environ.get("ASAHI_API_KEY", "")
    kept = Credentials()
    if not (url and key):
        try:
            kept = read_credentials(folder)
        except OSError as error:
            raise WrongConfiguration(f"{error.filename} cannot be read ({error.strerror}); mend its mode") from error
    sources = ["the environment"] if url or key else []
    sources += [f"{folder}/credentials"] if (kept.url and not url) or (kept.api_key and not key) else []
    if url and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", url):
        raise WrongConfiguration(f"ASAHI_URL: {url[:100]!r} is none; it looks like http://127.0.0.1:8000")
    # A key that was made here is never sent to a server that somebody else names.
    own_key = kept.api_key if not url or url.rstrip("/") == kept.url.rstrip("/") else ""
    return Access((url or kept.url).rstrip("/"), key or own_key, folder, " and ".join(sources))


def admin_secret(environ: Mapping[str, str], data_dir: Path | None = None) -> str:
    """The operator's secret, from ASAHI_ADMIN_SECRET or, for the server that was made here, laptop mode's credentials.

    Raises:
        CommandError: it is not known.
    """
    found = access(environ, data_dir)
    secret = environ.get("ASAHI_ADMIN_SECRET", "")
    if not secret:
        kept = read_credentials(found.data_dir)
        secret = kept.admin_secret if found.url == kept.url.rstrip("/") else ""
    if not (secret and found.url):
        raise CommandError("ASAHI_URL or ASAHI_ADMIN_SECRET is not set: this is for the operator")
    return secret


def require_access(found: Access) -> Access:
    """`found`, if it is complete.

    Raises:
        CommandError: URL or key is not known.
    """
    if found.url and found.api_key:
        return found
    missing = " and ".join(n for n, v in (("ASAHI_URL", found.url), ("ASAHI_API_KEY", found.api_key)) if not v)
    raise CommandError(
        f"{missing} not set, and {found.data_dir}/credentials does not tell: start Asahi here with `asahi up`, "
        "or set both variables"
    )


def _data_dir(environ: Mapping[str, str], option: Path | None) -> Path:
    return option or Path(environ.get("ASAHI_DATA_DIR") or DEFAULT_DATA_DIR)


def _port(variable: str, default: int, above: int, environ: Mapping[str, str], option: int | None) -> int:
    """A port with `above` more after it."""
    text = str(option) if option is not None else environ.get(variable) or str(default)
    if not text.isascii() or not text.isdecimal() or int(text) > 65535 - above:
        raise WrongConfiguration(f"{variable}: {text[:40]!r} is no port; use 1 to {65535 - above}, or 0 for a free one")
    return int(text)
