"""Cues of kinds: what spares looking for a pattern never hides one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from asahi_router.domain.kinds import CUES, kind_of

_WORDS = sorted(
    {word for cue in CUES for word in re.findall(r"[^\W\d_]+", cue.pattern.pattern)}
    | {
        "How many",
        "1 + 2",
        "3",
        "SELECT",
        "FROM",
        "résumé",
        "Übersetze",
        "tl;dr",
        "stack trace",
        "```",
        "(",
        "#include",
    }
    | {"square root", "which of the following", "answer with only", "\\\\frac", "public static", "traduction", "story"}
)


@given(st.lists(st.sampled_from(_WORDS), max_size=8), st.sampled_from(["", "s", "e", "y", "ion"]), st.booleans())
def test_a_pattern_that_is_there_is_found(words: list[str], ending: str, shouted: bool) -> None:
    text = " ".join(f"{word}{ending}" for word in words)
    text = text.upper() if shouted else text
    for cue in CUES:
        assert cue.is_in(text, text.casefold()) is (cue.pattern.search(text) is not None), cue.pattern.pattern


def test_kinds_are_told_by_what_is_asked() -> None:
    told = {
        "Translate this into French.": "translation",
        "SUMMARISE the minutes.": "summarization",
        "def f(x): what is wrong?": "code",
        "Write me a small script that sorts.": "code",
        "What is 17 * 4?": "math",
        "How many apples are left of 12?": "math",
        "Which of the following is a bird?": "extraction",
        "Why is the sky blue": "knowledge",
        "Write me a story about a bear.": "chat",
    }
    assert {text: kind_of(text, has_tools=False, has_schema=False) for text in told} == told
