"""Depth of JSON, however it is cut into pieces."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi_billing.domain.cost_reports.nesting import MOST_LEVELS, Nesting
from asahi_billing.domain.cost_reports.reading import ReportReading
from asahi_core.errors import InvalidRequest

_leaves = st.one_of(st.none(), st.integers(), st.text(alphabet='a"\\[]{}é', max_size=12))
_documents = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner)
)


def nested(document: object, levels: int) -> bytes:
    """The document inside so many lists."""
    return b"[" * levels + json.dumps(document, ensure_ascii=False).encode() + b"]" * levels


def feed(text: bytes, size: int) -> Nesting:
    nesting = Nesting()
    for start in range(0, len(text), size):
        nesting.feed(text[start : start + size])
    return nesting


@settings(deadline=None, max_examples=50)
@given(_documents, st.integers(1, 9))
def test_what_strings_hold_is_not_counted_wherever_pieces_end(document: object, size: int) -> None:
    one = json.dumps(document, ensure_ascii=False).encode()
    levels = MOST_LEVELS - 10
    nesting = feed(one * 50, size)
    nesting.feed(b"[" * MOST_LEVELS)
    with pytest.raises(InvalidRequest, match="64 levels"):
        nesting.feed(b"[")
    feed(nested("]" * 100 + "[" * 100, levels), size)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b'["\\"' + b'\\"' * 100_000 + b'",' + b"[" * 100])
def test_a_report_that_is_nested_without_end_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match="nested"):
        ReportReading().feed(text)
