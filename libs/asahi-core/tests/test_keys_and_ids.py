"""Keys tell a typo without a lookup; ids are unique and sort by time."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_core.ids import BASE62, SystemIds
from asahi_core.keys import digest_key, mint_key

_FORMAT = re.compile(r"ask_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}")
_KEY = mint_key(SystemIds())


def test_minted_keys_have_the_format_are_well_formed_and_differ() -> None:
    keys = {mint_key(SystemIds()) for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert _FORMAT.fullmatch(key)
        digest = digest_key(key)
        assert digest is not None
        assert digest.prefix == key[4:12]
        assert len(digest.sha256) == 32


def test_a_digest_says_nothing_of_the_secret() -> None:
    assert _KEY[13:] not in repr(digest_key(_KEY))


@given(st.integers(0, len(_KEY) - 1), st.sampled_from(BASE62))
def test_any_single_typo_is_told(position: int, typed: str) -> None:
    mistyped = _KEY[:position] + typed + _KEY[position + 1 :]
    assert (digest_key(mistyped) is None) == (mistyped != _KEY)


@given(st.integers(4, len(_KEY) - 2))
def test_two_letters_swapped_are_told(position: int) -> None:
    swapped = _KEY[:position] + _KEY[position + 1] + _KEY[position] + _KEY[position + 2 :]
    assert (digest_key(swapped) is None) == (swapped != _KEY)


@pytest.mark.parametrize(
    "key",
    ["", "ask_", _KEY[:-1], _KEY + "0", " " + _KEY, _KEY + "\n", _KEY.upper(), _KEY.replace("_", "-"), "é" * 62],
    ids=["empty", "start", "short", "long", "blank before", "line after", "upper case", "dashes", "no ASCII"],
)
def test_what_is_no_key_has_no_digest(key: str) -> None:
    assert digest_key(key) is None


@given(st.text())
def test_no_text_breaks_the_check(text: str) -> None:
    assert digest_key(text) is None


def test_request_ids_are_uuids_of_version_seven_that_sort_by_time() -> None:
    ids = [SystemIds().request_id() for _ in range(1_000)]
    assert {uuid.UUID(one).version for one in ids} == {7}
    assert len(set(ids)) == len(ids)
    moments = [one[:13] for one in ids]
    assert moments == sorted(moments)


def test_tokens_have_the_length_and_the_letters_asked_for() -> None:
    token = SystemIds().token(1_000)
    assert len(token) == 1_000
    assert set(token) == set(BASE62)
