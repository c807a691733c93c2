"""What goes to a terminal: colours where they are wanted, and never a control sequence that came from elsewhere."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

Style = Literal["bold", "dim", "red", "green", "yellow", "blue", "magenta", "cyan"]
_CODES: Mapping[str, str] = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour `stream`: terminals, unless NO_COLOR is set; FORCE_COLOR colours anything."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (stream.isatty() and environ.get("TERM") != "dumb")


def styled(text: str, *styles: Style, colour: bool) -> str:
    """`text` in `styles`, if `colour`."""
    if not colour or not styles or not text:
        return text
    return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def plain(text: str) -> str:
    """`text` with its control characters shown instead of obeyed; tabs and line ends stay."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


class Output:
    """A stream whose reader may go away: that is told once, then what is printed goes nowhere."""

    def __init__(self, stream: TextIO, on_gone: Callable[[], None]) -> None:
        self._stream = stream
        self._on_gone = on_gone

    def print(self, text: str) -> None:
        """Prints a line at once."""
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._on_gone()
