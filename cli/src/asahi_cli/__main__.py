"""The `asahi` command: its words and options. What they do is in `laptop/` and `commands/`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from asahi_cli.client import AsahiClient
from asahi_cli.commands import ask as asking
from asahi_cli.commands import audit as auditing
from asahi_cli.commands import doctor as examining
from asahi_cli.commands import keys as keeping
from asahi_cli.commands import models as listing
from asahi_cli.commands import reconcile as reconciling
from asahi_cli.commands import reprice as repricing
from asahi_cli.commands import usage as accounting
from asahi_cli.errors import CommandError
from asahi_cli.laptop.up import up as run_installation
from asahi_cli.settings import access, admin_secret, laptop_settings, require_access
from asahi_cli.terminal import wants_colour

_ASK_TIMEOUT_S = 600.0
_RECONCILE_TIMEOUT_S = 300.0
_VERIFY_TIMEOUT_S = 600.0

app = typer.Typer(
    help="Asahi answers prompts for less. `asahi up` starts it on this machine; the others talk to one that runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make, list and revoke the organization's keys.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys, name="keys")
audit = typer.Typer(help="Read and verify the organization's audit chain.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(audit, name="audit")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of laptop mode (ASAHI_DATA_DIR; default .asahi).")
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="HTTP port (PORT; default 8000); 0: any free one.")] = None,
    grpc_port_base: Annotated[
        int | None, typer.Option(help="First of five gRPC ports (ASAHI_GRPC_PORT_BASE; default 50050); 0: free ones.")
    ] = None,
    metrics_port_base: Annotated[
        int | None,
        typer.Option(help="First of five metrics ports (ASAHI_METRICS_PORT_BASE; default 9100); 0: free ones."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Log lines as they come, for programs.")] = False,
) -> None:
    """Start all services on this machine, and the provider simulator if no provider key is set."""
    settings = laptop_settings(
        os.environ,
        http_port=port,
        grpc_port_base=grpc_port_base,
        metrics_port_base=metrics_port_base,
        data_dir=data_dir,
    )
    run_installation(settings, out=sys.stdout, colour=wants_colour(sys.stdout, os.environ), as_json=as_json)


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="The prompt; `-` reads it from stdin.")],
    *,
    model: Annotated[str | None, typer.Option(help="Use this model.")] = None,
    quality: Annotated[
        Literal["low", "medium", "high", "max"] | None, typer.Option(help="Choose among models of this quality.")
    ] = None,
    latency: Annotated[
        Literal["slow", "normal", "fast", "instant"] | None, typer.Option(help="Choose among models this fast.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Least expected quality, 0 to 5.")] = None,
    latency_budget_ms: Annotated[int | None, typer.Option(help="Most milliseconds of the call.")] = None,
    cost_budget: Annotated[float | None, typer.Option(help="Most dollars of the call.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of the answer.")] = None,
    system: Annotated[str | None, typer.Option(help="System instruction.")] = None,
    cache: Annotated[bool, typer.Option(help="Whether the cache may answer.")] = True,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Ask a prompt: the answer on stdout; model, cost, savings and reason on stderr."""
    mode = "explicit" if model else "guided" if quality or latency else "autopilot"
    fields = {
        "prompt": sys.stdin.read() if prompt == "-" else prompt,
        "routing_mode": mode,
        "model_override": model,
        "quality_preference": quality,
        "latency_preference": latency,
        "quality_threshold": threshold,
        "latency_budget_ms": latency_budget_ms,
        "cost_budget": cost_budget,
        "max_tokens": max_tokens,
        "system": system,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    colour = wants_colour(sys.stderr, os.environ)
    with _client(data_dir, _ASK_TIMEOUT_S) as client:
        asking.ask(client, body, use_cache=cache, as_json=as_json, colour=colour)


@app.command()
def usage(
    period: Annotated[str, typer.Option(help="1h, 24h, 7d, 30d, hour, day, week or month, up to now.")] = "24h",
    calendar: Annotated[
        Literal["day", "month"] | None,
        typer.Option(help="In place of --period: this calendar day or month, with tokens and budget left."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what was spent and saved."""
    with _client(data_dir) as client:
        if calendar:
            accounting.calendar(client, calendar, as_json=as_json)
        else:
            accounting.summary(client, period, as_json=as_json)


@app.command()
def models(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that no provider serves here, or that this key may not use.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the models: provider, prices, window, quality, speed, state."""
    with _client(data_dir) as client:
        listing.models(client, everything=everything, as_json=as_json)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="A label.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="infer, analytics, admin or all; may be repeated. Default: infer.")
    ] = None,
    user_id: Annotated[str | None, typer.Option(help="Whom it belongs to.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Allowed models, as gpt-6-*; may be repeated.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339, as 2027-01-31T00:00:00Z; default: never.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a key, never with more than yours has. The secret is shown this once."""
    fields = {
        "name": name,
        "scopes": scope or ["infer"],
        "user_id": user_id,
        "allowed_models": model,
        "expires_at": expires_at,
    }
    with _client(data_dir) as client:
        keeping.create(client, {n: v for n, v in fields.items() if v}, as_json=as_json)


@keys.command("list")
def list_keys(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are revoked.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the keys, newest first."""
    with _client(data_dir) as client:
        keeping.show(client, revoked_too=everything, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Its id, as `asahi keys list` shows it.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Revoke a key for good."""
    with _client(data_dir) as client:
        keeping.revoke(client, key_id, as_json=as_json)


@audit.command("list")
def list_audit(
    most: Annotated[int, typer.Option("--limit", min=1, help="Most entries shown.")] = 100,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List who did what when, newest first."""
    with _client(data_dir) as client:
        auditing.show(client, most, as_json=as_json)


@audit.command("verify")
def verify_audit(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Recompute the chain against its checkpoints, and name what is wrong; exit code 1 if anything is."""
    with _client(data_dir, _VERIFY_TIMEOUT_S) as client:
        auditing.verify(client, as_json=as_json)


@app.command()
def reconcile(
    file: Annotated[Path, typer.Argument(help="The provider's cost report: JSON of its API, or OpenAI's CSV.")],
    *,
    provider: Annotated[
        str | None, typer.Option(help="The provider as usage records name it; default: whose report it is.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Which provider uses a key of the report, as proj_a:openai; may be repeated."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Hold the ledger against a provider's own cost report; exit code 1 if they do not agree."""
    with _client(data_dir, _RECONCILE_TIMEOUT_S) as client:
        reconciling.reconcile(client, file, provider=provider, keys=key or [], as_json=as_json)


@app.command()
def reprice(
    organization_id: Annotated[str, typer.Argument(help="Whose calls.")],
    start: Annotated[str, typer.Argument(help="Calls answered from then on, as 2026-11-01T00:00:00Z.")],
    end: Annotated[str, typer.Argument(help="Until then, exclusive; at most now.")],
    *,
    models: Annotated[str, typer.Option(help="Only these models, as gpt-6-*.")] = "*",
    book: Annotated[bool, typer.Option("--book", help="Book it; without, say what would be booked.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Book what calls cost by the prices of now against what was recorded. For the operator (ASAHI_ADMIN_SECRET)."""
    secret = admin_secret(os.environ, data_dir)
    with AsahiClient(access(os.environ, data_dir).url, timeout_s=_RECONCILE_TIMEOUT_S) as client:
        repricing.reprice(client, secret, organization_id, start, end, models=models, book=book, as_json=as_json)


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Say what is wrong with this installation and how to mend it."""
    found = access(os.environ, data_dir)
    examining.doctor(found, as_json=as_json, colour=wants_colour(sys.stdout, os.environ))


def _client(data_dir: Path | None, timeout_s: float = 30.0) -> AsahiClient:
    found = require_access(access(os.environ, data_dir))
    return AsahiClient(found.url, found.api_key, timeout_s=timeout_s)


def main() -> None:
    """Runs the command; a failure is one line on stderr and an exit code that is not 0."""
    try:
        app()
    except CommandError as error:
        error.end_process()


if __name__ == "__main__":
    main()
