"""Which kind of work a question is, by plain rules over its text and form.

This is a prior, not a learned classifier: it costs microseconds, and where it errs it errs towards kinds that ask for
more quality (`chat` and `knowledge` before `extraction`). It knows cues of a few languages.
"""

import re

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


def _cue(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_PROGRAM = _cue(
    r"```|\b(def|class|function|import|public static|#include|SELECT\b.{1,80}\bFROM)\b.{0,80}[({:;*]"
    r"|\b(refactor|debug|stack ?trace|traceback|unit tests?|compile|implement|regex|regular expression|bug)\b"
    r"|\b(write|fix|create|generate|build)\b.{0,40}\b(function|script|program|class|query|code|component|api|test)s?\b"
)
_TRANSLATE = _cue(r"\btranslat(e|es|ion|ing)\b|\bübersetz|\btradu[izc]|\bvertaal|翻译|翻訳")
_SUMMARIZE = _cue(r"\bsummar(y|ies|i[sz]e|i[sz]ing)\b|\btl;?dr\b|\bzusammenfass|\brésum|\bresum[ea]|总结|要約")
_MATH = _cue(
    r"\b(prove|integral|derivative|equation|theorem|probability|polynomial|matrix|squared|cubed|square root|modulo)\b"
    r"|\b(calculate|compute|solve|evaluate)\b|\bhow (many|much)\b.{0,200}\d|\d\s*[-+*/^×÷=]\s*\d|\\frac|\\int|\\sum"
)
_EXTRACT = _cue(
    r"\bextract|\bclassif(y|ies|ication)\b|\bcategori[sz]e\b|\blabel (the|each|this)\b|\bsentiment\b|\bparse\b"
    r"|\bwhich of the following\b|\banswer with (one|only)\b|\bjson\b|\bcsv\b"
)
_ASK = _cue(
    r"^\W*(what|who|whom|whose|when|where|why|how|which|explain|describe|define|compare|tell me about|name|list"
    r"|was|wer|wann|wo|warum|wie|erkläre|que|qu'est|pourquoi|comment|qué|quién|cómo|explica)\b"
)
_CUES = ((_TRANSLATE, TRANSLATION), (_SUMMARIZE, SUMMARIZATION), (_PROGRAM, CODE), (_MATH, MATH))
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
    for cue, kind in _CUES:
        if cue.search(seen):
            return kind
    if has_schema or _EXTRACT.search(seen):
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
