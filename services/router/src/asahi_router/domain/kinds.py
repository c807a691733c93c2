"""Which kind of work a question is, by plain rules over its text and form.

This is a prior, not a learned classifier: it costs microseconds, and where it errs it errs towards kinds that ask for
more quality (`chat` and `knowledge` before `extraction`). It knows cues of a few languages.
"""

import re
from dataclasses import dataclass

CHAT = "chat"
KNOWLEDGE = "knowledge"
CODE = "code"
MATH = "math"
EXTRACTION = "extraction"
SUMMARIZATION = "summarization"
TRANSLATION = "translation"
TOOL_USE = "tool_use"
KINDS = frozenset({CHAT, KNOWLEDGE, CODE, MATH, EXTRACTION, SUMMARIZATION, TRANSLATION, TOOL_USE})

_READ = 2_000
"""Characters of a text that are looked at, at its beginning and at its end."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A pattern, and words without which it cannot be found: looking for them costs a hundredth of looking for it."""

    pattern: re.Pattern[str]
    needs: tuple[tuple[str, ...], ...]
    """Of each group one must be there; case-folded."""

    def is_in(self, text: str, lower: str) -> bool:
        """Whether it is found in `text`, which case-folded is `lower`."""
        for group in self.needs:
            if not any(word in lower for word in group):
                return False
        return self.pattern.search(text) is not None


def _cue(pattern: str, *needs: tuple[str, ...]) -> Cue:
    return Cue(re.compile(pattern, re.IGNORECASE), needs)


_PROGRAM = (
    _cue(r"```", ("```",)),
    _cue(
        r"\b(def|class|function|import|public static|#include|SELECT\b.{1,80}\bFROM)\b.{0,80}[({:;*]",
        ("def", "class", "function", "import", "public static", "#include", "select"),
        ("(", "{", ":", ";", "*"),
    ),
    _cue(
        r"\b(refactor|debug|stack ?trace|traceback|unit tests?|compile|implement|regex|regular expression|bug)\b",
        ("refactor", "bug", "trace", "unit test", "compile", "implement", "regex", "regular expression"),
    ),
    _cue(
        r"\b(write|fix|create|generate|build)\b.{0,40}\b(function|script|program|class|query|code|component|api|test)s?\b",
        ("write", "fix", "create", "generate", "build"),
        ("function", "script", "program", "class", "query", "code", "component", "api", "test"),
    ),
)
_TRANSLATE = (
    _cue(
        r"\btranslat(e|es|ion|ing)\b|\bübersetz|\btradu[izc]|\bvertaal|翻译|翻訳",
        ("translat", "übersetz", "tradu", "vertaal", "翻译", "翻訳"),
    ),
)
_SUMMARIZE = (
    _cue(
        r"\bsummar(y|ies|i[sz]e|i[sz]ing)\b|\btl;?dr\b|\bzusammenfass|\brésum|\bresum[ea]|总结|要約",
        ("summar", "tldr", "tl;dr", "zusammenfass", "résum", "resum", "总结", "要約"),
    ),
)
_MATH = (
    _cue(
        r"\b(prove|integral|derivative|equation|theorem|probability|polynomial|matrix|squared|cubed)\b"
        r"|\b(square root|modulo|calculate|compute|solve|evaluate)\b",
        (
            *("prove", "integral", "derivative", "equation", "theorem", "probability", "polynomial", "matrix"),
            *("squared", "cubed", "square root", "modulo", "calculate", "compute", "solve", "evaluate"),
        ),
    ),
    _cue(r"\bhow (many|much)\b.{0,200}\d", ("how many", "how much")),
    _cue(r"\d\s*[-+*/^×÷=]\s*\d", ("-", "+", "*", "/", "^", "×", "÷", "=")),
    _cue(r"\\frac|\\int|\\sum", ("\\frac", "\\int", "\\sum")),
)
_EXTRACT = (
    _cue(
        r"\bextract|\bclassif(y|ies|ication)\b|\bcategori[sz]e\b|\blabel (the|each|this)\b|\bsentiment\b|\bparse\b"
        r"|\bwhich of the following\b|\banswer with (one|only)\b|\bjson\b|\bcsv\b",
        (
            *("extract", "classif", "categori", "label", "sentiment", "parse", "which of the following"),
            *("answer with", "json", "csv"),
        ),
    ),
)
_ASK = re.compile(
    r"^\W*(what|who|whom|whose|when|where|why|how|which|explain|describe|define|compare|tell me about|name|list"
    r"|was|wer|wann|wo|warum|wie|erkläre|que|qu'est|pourquoi|comment|qué|quién|cómo|explica)\b",
    re.IGNORECASE,
)
CUES = (*_PROGRAM, *_TRANSLATE, *_SUMMARIZE, *_MATH, *_EXTRACT)
_DECIDING = ((_TRANSLATE, TRANSLATION), (_SUMMARIZE, SUMMARIZATION), (_PROGRAM, CODE), (_MATH, MATH))
"""What decides by itself, the surest first."""
_NAMES = {
    CHAT: ("chat", "convers"),
    KNOWLEDGE: ("knowledge", "answer", "question", "explain", "compar"),
    CODE: ("cod", "program"),
    MATH: ("math", "calculat"),
    EXTRACTION: ("extract", "classif", "categor", "label"),
    SUMMARIZATION: ("summar", "digest"),
    TRANSLATION: ("translat",),
    TOOL_USE: ("tool",),
}
"""How names of kinds begin that callers use."""


def named_kind(name: str) -> str:
    """The kind that a caller calls so, one of `KINDS`; empty: none is."""
    name = name.strip().lower()
    return next((kind for kind, beginnings in _NAMES.items() if name.startswith(beginnings)), "")


def kind_of(text: str, *, has_tools: bool, has_schema: bool) -> str:
    """The kind of work that a question is, one of `KINDS`; `text`: its last words of the user."""
    if has_tools:
        return TOOL_USE
    seen = text if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"
    lower = seen.casefold()
    for cues, kind in _DECIDING:
        if any(cue.is_in(seen, lower) for cue in cues):
            return kind
    if has_schema or any(cue.is_in(seen, lower) for cue in _EXTRACT):
        return EXTRACTION
    return KNOWLEDGE if _ASK.match(seen) or seen.rstrip().endswith(("?", "？")) else CHAT


def script_of(text: str) -> str:
    """The script that most letters of a text's beginning are written in: `latin`, `cjk` or `other`; empty: none."""
    beginning = text[:200]
    if beginning.isascii():
        return "latin" if any(map(str.isalpha, beginning)) else ""
    counts = {"latin": 0, "cjk": 0, "other": 0}
    for letter in beginning:
        if letter.isalpha():
            code = ord(letter)
            counts["latin" if code < 0x250 else "cjk" if 0x2E80 <= code < 0xFB00 else "other"] += 1
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] else ""
