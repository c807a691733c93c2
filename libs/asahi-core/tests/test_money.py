"""Money: nano-dollars inside, exact decimal dollars outside."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_core.money import MAX_NANOS, dollars, nanos_from_dollars

_nanos = st.integers(-MAX_NANOS, MAX_NANOS)


@given(_nanos)
def test_dollars_are_read_back_to_the_nano_dollar(nanos: int) -> None:
    assert nanos_from_dollars(dollars(nanos)) == nanos


@given(_nanos)
def test_dollars_are_json_numbers_without_exponent_or_trailing_zeros(nanos: int) -> None:
    text = dollars(nanos)
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == Decimal(nanos) / 10**9
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (10**9, "1"), (100 * 10**9, "100"), (-1_500_000_000, "-1.5")],
)
def test_dollars_are_written_as_people_write_them(nanos: int, text: str) -> None:
    assert dollars(nanos) == text


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [("1", 10**9), ("1e-9", 1), ("1E+1", 10**10), ("-0", 0), (" 2 ", 2 * 10**9), (Decimal("0.5"), 5 * 10**8)],
)
def test_amounts_are_taken_in_every_decimal_form(amount: str | Decimal, nanos: int) -> None:
    assert nanos_from_dollars(amount) == nanos


@pytest.mark.parametrize(
    "amount",
    ["", "ten", "1,5", "nan", "-Infinity", "1e-10", "0.1234567891", "1e11", "9223372036.854775808", "1e999999"],
)
def test_what_is_no_exact_amount_is_refused_and_named(amount: str) -> None:
    with pytest.raises(ValueError, match=r"dollars|decimals"):
        nanos_from_dollars(amount)


def test_a_refusal_does_not_repeat_a_long_text() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is what is looked at
        nanos_from_dollars("x" * 10_000)
    assert len(str(caught.value)) < 100


@given(st.text(max_size=20))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    try:
        nanos = nanos_from_dollars(text)
    except ValueError:
        return
    assert abs(nanos) <= MAX_NANOS
