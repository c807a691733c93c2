"""The form of a question as numbers: what can be seen of it in microseconds, whatever it is about.

They go into what is learned of models beside the embedding of the text, and alone where there is none.
"""

import re
from collections.abc import Sequence
from math import log1p, sqrt

from asahi_router.domain.kinds import KINDS

_READ = 1_200
"""Characters of the text that are looked at closely, at its end: what is asked stands there."""
_LAST = 600
_OPTIONS = re.compile(r"^\s*\(?([A-J])[.):]", re.MULTILINE)
_NUMBERS = re.compile(r"\d+")
_ASKING = re.compile(r"\b(what|which|who|when|where|why|how)\b")
_ASKED = ("what", "which", "who", "when", "where", "why", "how")
_PROGRAM = ("def ", "return ", "```", "class ", "function ", "SELECT ")
_DIGITS, _CAPITALS, _SYMBOLS = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"()[]{}<>=+-*/^_\\|$"
_DIGITS_ALONE = bytes(code if code in _DIGITS else ord(" ") for code in range(256))
_BEYOND_ASCII = bytes(range(128, 256))
_KINDS = tuple(sorted(KINDS))

Form = Sequence[float]
"""One number per feature, in the order in which `form_of` lists them."""


def form_of(text: str, kind: str, *, tools: int = 0, tools_bytes: int = 0) -> Form:
    """The form of a question whose last words of the user are `text`; `FORM_SIZE` numbers.

    `kind`: one of `domain.kinds.KINDS`; `tools_bytes`: size of the definitions of its tools.
    """
    end = text[-_READ:]
    raw = end.encode(errors="replace")
    words = end.split()
    numbers = raw.translate(_DIGITS_ALONE).split() if end.isascii() else _NUMBERS.findall(end)
    options = _OPTIONS.findall(end)
    lower = end.lower()
    asked = set(_ASKING.findall(lower[-_LAST:]))
    closing = lower.rstrip()
    return (
        log1p(len(text)),
        log1p(len(words)),
        sum(map(len, words)) / max(1, len(words)),
        len(set(words)) / max(1, len(words)),
        log1p(len(words[-1])) if words else 0.0,
        sqrt(len(numbers)),
        _share(raw, _DIGITS),
        float(min(12, max(map(len, numbers), default=0))),
        _share(raw, _CAPITALS),
        _share(raw, _BEYOND_ASCII),
        _share(raw, _SYMBOLS),
        sqrt(end.count(",")),
        sqrt(end.count(".")),
        log1p(end.count("\n")),
        log1p(text.count("\n\n")),
        float(len(options)),
        float(max(map(ord, options), default=ord("A") - 1) - ord("A") + 1),
        float("\\" in end or "$" in end),
        float(any(cue in end for cue in _PROGRAM)),
        float(closing.endswith("?")),
        float(closing.endswith(":")),
        float(" not " in lower or "except" in lower or "least" in lower),
        float("if " in lower),
        float("%" in end),
        float("step" in lower),
        float("json" in lower),
        log1p(tools),
        log1p(tools_bytes),
        *(float(word in asked) for word in _ASKED),
        *(float(kind == known) for known in _KINDS),
    )


def _share(raw: bytes, of: bytes) -> float:
    return 1 - len(raw.translate(None, of)) / len(raw) if raw else 0.0


FORM_SIZE = len(form_of("", "chat"))
