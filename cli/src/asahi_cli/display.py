"""How answers are shown: tables for people, the server's own JSON for programs."""

import sys
from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from asahi_cli.client import Answer
from asahi_cli.terminal import plain

_WIDE = 400


def print_json(answer: Answer) -> None:
    """The body as the server wrote it."""
    print(answer.text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table on stdout. Cells are never cut: in a pipe it is as wide as need be. A column `>name` is of figures."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def dollars(amount: object) -> str:
    """A JSON number of dollars, exactly; `–` where it is null."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return "–"
    text = f"{amount:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"-${text[1:]}" if text.startswith("-") else f"${text}"


def percent(share: object) -> str:
    """A JSON number of per cent; `–` where it is null."""
    return f"{share:.1f} %" if isinstance(share, int | Decimal) else "–"
