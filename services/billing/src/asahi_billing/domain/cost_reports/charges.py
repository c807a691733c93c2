"""What a cost report says, whoever's it is: charges by day, model, kind of token and key, in bounded memory."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from asahi.billing.v1.reconciliation_pb2 import ReportFormat
from asahi_core.errors import InvalidRequest

MOST_CHARGES = 200_000
MOST_ROWS = 5_000_000
BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
"""Kinds of tokens, as the ledger keeps them apart."""
_LONGEST_TEXT = 200
_MOST_DOLLARS_DIGITS = 8
_DAY_S = 86_400
_LATEST_DAY_S = 9_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class ChargeKey:
    """What a charge is for."""

    day: str
    """UTC, as 2026-11-24."""
    model: str
    """As the report writes it; empty: none is named."""
    item: str
    """One of `BUCKETS`, else what the report calls it."""
    key: str
    """The provider's key, project or workspace; empty: the report names none."""


@dataclass(slots=True)
class Charged:
    """What was charged."""

    nanos: int = 0
    tokens: int | None = 0
    """None: the report does not say of how many."""


class Charges:
    """What has been read of a report."""

    def __init__(self) -> None:
        self.format = ReportFormat.REPORT_FORMAT_UNSPECIFIED
        self.days: set[str] = set()
        """The days that it covers, those without charges too."""
        self.rows = 0
        self.by_key: dict[ChargeKey, Charged] = {}

    def cover(self, day: str) -> None:
        """Notes that the report has everything of a day."""
        self.days.add(day)

    def add(self, key: ChargeKey, nanos: int, tokens: int | None) -> None:
        """Adds a row.

        Raises:
            InvalidRequest: the report has too much.
        """
        self.rows += 1
        charged = self.by_key.get(key)
        if charged is None:
            if len(self.by_key) >= MOST_CHARGES or self.rows > MOST_ROWS:
                raise InvalidRequest(
                    f"The report has more than {MOST_CHARGES} charges by day, model, kind and key; import fewer days."
                )
            charged = self.by_key[key] = Charged()
        charged.nanos += nanos
        charged.tokens = None if tokens is None or charged.tokens is None else charged.tokens + tokens


def nanos_of(amount: object, unit: Decimal, place: str) -> int:
    """Nano-dollars of an amount in `unit`s of a dollar (1, 0.01), rounded half up.

    Raises:
        InvalidRequest: it is no amount.
    """
    try:
        if isinstance(amount, bool) or not isinstance(amount, str | int | float | Decimal):
            raise ValueError(amount)
        dollars = Decimal(amount if not isinstance(amount, float) else repr(amount)) * unit
        if not dollars.is_finite() or (dollars and not -40 < dollars.adjusted() < _MOST_DOLLARS_DIGITS):
            raise ValueError(amount)
    except (InvalidOperation, ValueError) as error:
        raise InvalidRequest(f"{place}: {_shown(amount)} is no amount of money.", param=place) from error
    return int((dollars * 1_000_000_000).to_integral_value(ROUND_HALF_UP))


def dollars_only(currency: object, place: str) -> None:
    """Raises InvalidRequest unless `currency` is the dollar."""
    if not isinstance(currency, str) or currency.lower() != "usd":
        raise InvalidRequest(f"{place}: {_shown(currency)} is not usd; other currencies are not taken.", param=place)


def day_of(start: datetime, end: datetime | None, place: str) -> str:
    """The day (UTC) of a bucket.

    Raises:
        InvalidRequest: it is no whole day.
    """
    whole = start.timestamp() % _DAY_S == 0 and (end is None or (end - start).total_seconds() == _DAY_S)
    if not whole:
        message = f"{place}: {start.isoformat()} begins no whole day (UTC); ask for buckets of a day."
        raise InvalidRequest(message, param=place)
    return start.date().isoformat()


def moment(value: object, place: str) -> datetime:
    """The time in seconds since 1970, or in RFC 3339.

    Raises:
        InvalidRequest: it is neither.
    """
    try:
        if isinstance(value, str) and not value.lstrip("-").isdigit():
            found = datetime.fromisoformat(value)
            if found.tzinfo is None:
                raise ValueError(value)
            return found.astimezone(UTC)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or not 0 < int(value) < _LATEST_DAY_S:
            raise ValueError(value)
        return datetime.fromtimestamp(int(value), UTC)
    except (ValueError, OverflowError, InvalidOperation) as error:
        raise InvalidRequest(f"{place}: {_shown(value)} is no time.", param=place) from error


def text_of(value: object, place: str) -> str:
    """A short text; empty for null.

    Raises:
        InvalidRequest: it is none.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or "\0" in value:
        raise InvalidRequest(f"{place}: {_shown(value)} is no text of at most {_LONGEST_TEXT} characters.", param=place)
    return value


def tokens_of(value: object) -> int | None:
    """A whole number of tokens; None: it is not said, or is none."""
    if isinstance(value, str):
        try:
            value = Decimal(value) if value else None
        except InvalidOperation:
            return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal) and (not value.is_finite() or value.adjusted() > 15 or value != value.to_integral()):
        return None
    return int(value) if 0 <= value < 10**15 else None


def _shown(value: object) -> str:
    return repr(value)[:60]
