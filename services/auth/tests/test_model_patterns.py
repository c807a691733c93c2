"""A key's patterns of models never allow more than its maker's."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asahi_auth.domain.model_patterns import allows_no_more


@pytest.mark.parametrize(
    ("pattern", "maker"),
    [
        ("gpt-6-mini", ["gpt-6-*"]),
        ("gpt-6-*", ["gpt-*"]),
        ("gpt-6-*", ["claude-*", "gpt-6-*"]),
        ("gpt-6-*", ["*"]),
        ("gpt-?", ["gpt-*"]),
        ("gpt-[56]", ["gpt-?"]),
        ("gpt-[56]", ["gpt-[56]"]),
        ("gpt-5", ["gpt-[56]"]),
        ("a**b", ["a*b"]),
        ("gpt-[", ["gpt-["]),
    ],
)
def test_narrower_patterns_may_be_given(pattern: str, maker: list[str]) -> None:
    assert allows_no_more(pattern, maker)


@pytest.mark.parametrize(
    ("pattern", "maker"),
    [
        ("*", ["gpt-*"]),
        ("gpt-*", ["gpt-?"]),
        ("gpt-?", ["gpt-5"]),
        ("gpt-7", ["gpt-[56]"]),
        ("[ab]", ["????"]),
        ("gpt-5x", ["gpt-5"]),
        ("gpt-5", []),
        ("GPT-5", ["gpt-*"]),
    ],
)
def test_wider_patterns_may_not_be_given(pattern: str, maker: list[str]) -> None:
    assert not allows_no_more(pattern, maker)


PATTERNS = st.text(alphabet="ab*?[]!-", max_size=6)


@given(pattern=PATTERNS, maker=st.lists(PATTERNS, max_size=3), model=st.text(alphabet="ab[]!-", max_size=6))
@example(pattern="[!]a]", maker=["[!]a]"], model="b")
@example(pattern="[]", maker=["??"], model="[]")
def test_what_may_be_given_never_reaches_a_model_beyond_the_makers(pattern: str, maker: list[str], model: str) -> None:
    if allows_no_more(pattern, maker) and fnmatchcase(model, pattern):
        assert any(fnmatchcase(model, wider) for wider in maker)
