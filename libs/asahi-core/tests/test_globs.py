"""Patterns of model ids, as policies and keys write them."""

import pytest

from asahi_core.globs import matches_any


@pytest.mark.parametrize(
    ("name", "patterns", "matches"),
    [
        ("gpt-4o", ["gpt-4o"], True),
        ("gpt-4o-mini", ["gpt-4o"], False),
        ("gpt-4o-mini", ["gpt-*"], True),
        ("GPT-4o", ["gpt-*"], False),
        ("claude-sonnet-4-5", ["gpt-*", "claude-*-4-?"], True),
        ("claude-opus-4-6", ["claude-opus-4-[0-5]"], False),
        ("meta-llama/Llama-4", ["*/Llama-4"], True),
        ("anything", ["*"], True),
        ("anything", [""], False),
        ("anything", [], False),
        ("a.b", ["a?b"], True),
        ("axb", ["a.b"], False),
    ],
)
def test_a_name_matches_one_of_the_patterns(name: str, patterns: list[str], *, matches: bool) -> None:
    assert matches_any(name, patterns) is matches
