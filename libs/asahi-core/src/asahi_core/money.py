"""Money is an integer number of nano-dollars everywhere inside; dollars exist only where people or JSON read them."""

from decimal import Decimal, InvalidOperation

NANOS_PER_DOLLAR = 1_000_000_000
MAX_NANOS = 2**63 - 1


def dollars(nanos: int) -> str:
    """`nanos` as a decimal number of dollars, exactly: at most nine decimals, no exponent, no trailing zeros.

    The text is a valid JSON number: `dollars(1) == "0.000000001"`, `dollars(-1_500_000_000) == "-1.5"`.
    """
    whole, fraction = divmod(abs(nanos), NANOS_PER_DOLLAR)
    sign = "-" if nanos < 0 else ""
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def nanos_from_dollars(amount: str | Decimal) -> int:
    """The nano-dollars in a decimal number of dollars.

    Raises:
        ValueError: not a finite number, more than nine decimals, or more than an int64 of nano-dollars holds.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation as error:
        raise ValueError(f"{str(amount)[:40]!r} is not a number of dollars") from error
    if not value.is_finite():
        raise ValueError(f"{str(amount)[:40]!r} is not a finite number of dollars")
    if value.adjusted() > 10:
        raise ValueError(f"{str(amount)[:40]} dollars is more than can be kept")
    scaled = value.scaleb(9)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{str(amount)[:40]} has more than nine decimals")
    if abs(scaled) > MAX_NANOS:
        raise ValueError(f"{str(amount)[:40]} dollars is more than can be kept")
    return int(scaled)
