"""What `asahi up` says when everything is ready: where it is, how to call it, and who answers."""

from dataclasses import dataclass
from pathlib import Path

from asahi_cli.credentials import FILE_NAME, Credentials
from asahi_cli.laptop.addresses import Addresses
from asahi_cli.terminal import styled

SIMULATOR_ANSWERS = (
    "the PROVIDER SIMULATOR: neither OPENAI_API_KEY nor ANTHROPIC_API_KEY is set,\n"
    "                so answers are made up and no model is called"
)
PROVIDERS_ANSWER = "real providers, with the keys of your environment"


@dataclass(frozen=True, slots=True)
class Welcome:
    """An installation that is ready."""

    credentials: Credentials
    addresses: Addresses
    data_dir: Path
    simulated: bool
    unused: tuple[str, ...]
    """Base URLs of providers whose key is not set."""
    seconds: float
    """That it took to be ready."""

    def text(self, *, colour: bool) -> str:
        """For people; it ends with a request to paste."""
        found = self.credentials
        rows: tuple[tuple[str, str], ...] = (
            ("URL", found.url),
            ("API key", found.api_key),
            ("Organization", found.organization_id),
            ("Admin secret", f"{found.admin_secret}  (header X-Admin-Secret)"),
            ("API docs", f"{found.url}/docs"),
            ("gRPC", self.addresses.grpc["edge"]),
            ("Kept in", f"{self.data_dir}  (key and secret in {FILE_NAME})"),
            ("Answers by", SIMULATOR_ANSWERS if self.simulated else PROVIDERS_ANSWER),
        )
        rows += tuple(
            ("Not used", f"{url}, for its key is not set (any will do where none is asked)") for url in self.unused
        )
        title = styled(f"Asahi is ready ({self.seconds:.1f} s).", "bold", "green", colour=colour)
        table = "\n".join(f"  {styled(f'{name:<14}', 'dim', colour=colour)}{value}" for name, value in rows)
        advice = "Paste this twice; the second answer comes from the cache and costs nothing:"
        return (
            f"\n{title}\n\n{table}\n\n{styled(advice, 'bold', colour=colour)}\n\n{request_to_paste(found)}\n\n"
            "Ctrl-C ends everything.\n"
        )

    def without_secrets(self) -> dict[str, object]:
        """For programs, whose logs may be kept: key and secret are in the credentials file."""
        return {
            "url": self.credentials.url,
            "organization_id": self.credentials.organization_id,
            "credentials": str(self.data_dir / FILE_NAME),
            "grpc": dict(self.addresses.grpc),
            "metrics": dict(self.addresses.metrics),
            "simulator": self.addresses.simulator if self.simulated else None,
            "unused": self.unused,
            "seconds": self.seconds,
        }


def request_to_paste(credentials: Credentials) -> str:
    """The guide's example with this installation's URL, key and organisation."""
    return f"""curl -X POST {credentials.url}/infer \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer {credentials.api_key}" \\
  -d '{{
    "prompt": "Explain async/await in Python.",
    "routing_mode": "autopilot",
    "organization_id": "{credentials.organization_id}",
    "latency_budget_ms": 5000
  }}'"""
