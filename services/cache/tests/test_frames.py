"""Entries as they lie in Redis: read back as they were, or as nothing."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi_cache.stores.frames import MAX_BYTES, VERSION, Frames
from services.cache.tests.builders import digest, entry

_FRAMES = Frames()


def _frame(text: str = "42") -> bytes:
    framed = _FRAMES.frame("org-1", digest(1), entry(text))
    assert framed is not None
    return framed


def _read(frame: bytes, organization_id: str = "org-1", number: int = 1) -> CacheEntry | None:
    return _FRAMES.read(organization_id, digest(number), frame)


@given(st.text(max_size=3000))
def test_an_entry_reads_as_it_was_whatever_its_size(text: str) -> None:
    assert _read(_frame(text)) == entry(text)


def test_a_long_answer_takes_less_than_it_is_long() -> None:
    assert len(_frame("the same words again " * 1000)) < 1000


@given(st.sampled_from(["short", "long " * 500]), st.data())
def test_a_frame_with_any_byte_changed_or_missing_reads_as_nothing(text: str, data: st.DataObject) -> None:
    frame = _frame(text)
    at = data.draw(st.integers(0, len(frame) - 1))
    other = data.draw(st.integers(1, 255))
    assert _read(frame[:at] + bytes([frame[at] ^ other]) + frame[at + 1 :]) is None
    assert _read(frame[:at]) is None
    assert _read(frame + frame[at : at + 1]) is None


def test_a_frame_of_another_name_or_version_reads_as_nothing() -> None:
    frame = _frame()
    assert _read(frame, organization_id="org-2") is None
    assert _read(frame, number=2) is None
    assert _read(bytes([VERSION + 1]) + frame[1:]) is None


@given(st.binary(max_size=200))
def test_anything_reads_as_nothing(junk: bytes) -> None:
    assert _read(junk) is None
    assert _read(struct.pack(">BBI16s", VERSION, 1, 100, b"") + junk) is None


def test_an_entry_over_a_mebibyte_is_not_shared() -> None:
    assert _FRAMES.frame("org-1", digest(1), entry("x" * MAX_BYTES)) is None
