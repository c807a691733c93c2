"""Analytics on the books of a test, and the same figures added up from the records by hand."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.analytics import Analytics
from asahi_billing.domain.figures import Figures, figures_of
from asahi_billing.domain.store import Span
from asahi_billing.stores.analytics import SqlAnalytics
from services.billing.tests.books import Books
from services.billing.tests.records import NOON, ORGANIZATION, PRICES


def analytics_of(books: Books) -> Analytics:
    return Analytics(SqlAnalytics(books.store), books.spending, PRICES, books.clock)


def ns(moment: datetime) -> int:
    return round(moment.timestamp()) * 10**9


def hours(first: float, last: float) -> Span:
    """From one number of hours after noon to another."""
    return Span(ns(NOON + timedelta(hours=first)), ns(NOON + timedelta(hours=last)))


def added_up(records: Iterable[UsageRecord], span: Span, field: str) -> dict[str, Figures]:
    """The organisation's figures by a field of the record, in order of arrival."""
    answered = set()
    found: dict[str, Figures] = defaultdict(Figures)
    for record in records:
        repeats = record.answered and record.request_id in answered
        if record.organization_id != ORGANIZATION:
            continue
        if record.answered:
            answered.add(record.request_id)
        if span.start_ns <= record.occurred_at.ToNanoseconds() < span.end_ns:
            found[getattr(record, field)].add(figures_of(record, repeats_answer=repeats))
    return dict(found)
