"""The ledger's figures for Prometheus, read from the objects that count them when they are asked for."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asahi_billing.domain.ledger import Ledger
from asahi_billing.domain.spending import Spending

_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


def commit_seconds() -> Histogram:
    """The time of one durable transaction, shared by all calls that came while the one before was written."""
    return Histogram("asahi_billing_commit_seconds", "Time of one transaction.", buckets=_BUCKETS_S, registry=None)


class StoreFigures(Protocol):
    """What a store knows of itself."""

    @property
    def waiting(self) -> int:
        """Records that are not committed yet."""
        ...

    @property
    def queue_records(self) -> int:
        """How many may wait; more are turned away."""
        ...

    @property
    def repeated_answers(self) -> int:
        """Answered records beyond the first of their request, in the whole ledger, as of the last commit."""
        ...


class BillingCollector(Collector):
    """No labels but the results of a record (`new`, `duplicate`) and of a webhook's tries."""

    def __init__(
        self, ledger: Ledger, spending: Spending, store: StoreFigures, commits: Histogram, posts: Mapping[str, int]
    ) -> None:
        self._ledger = ledger
        self._spending = spending
        self._store = store
        self._commits = commits
        self._posts = posts

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        records = CounterMetricFamily("asahi_billing_records", "Usage records acknowledged.", labels=["result"])
        records.add_metric(["new"], self._ledger.recorded)
        records.add_metric(["duplicate"], self._ledger.duplicates)
        yield records
        yield CounterMetricFamily(
            "asahi_billing_refused_calls", "Calls refused for what a record says.", self._ledger.refused
        )
        yield CounterMetricFamily(
            "asahi_billing_rejected_records", "Records rejected one by one.", self._ledger.rejected
        )
        yield CounterMetricFamily(
            "asahi_billing_unusable_plans",
            "Spending plans that records brought and that cannot be understood.",
            self._ledger.unusable_plans,
        )
        yield CounterMetricFamily(
            "asahi_billing_expired_holds", "Holds that nobody renewed or ended.", self._spending.expired
        )
        if self._spending.breaks is not None:
            yield GaugeMetricFamily(
                "asahi_billing_ledger_breaks",
                "Figures that the last check found not to be what they are made of; anything but 0 is a fault.",
                self._spending.breaks,
            )
        yield GaugeMetricFamily("asahi_billing_waiting_records", "Records not written yet.", self._store.waiting)
        yield GaugeMetricFamily(
            "asahi_billing_queue_records", "Records that may wait; more are turned away.", self._store.queue_records
        )
        yield GaugeMetricFamily(
            "asahi_billing_repeated_answers",
            "Answered records beyond the first of their request; an edge that makes them is faulty.",
            self._store.repeated_answers,
        )
        posts = CounterMetricFamily(
            "asahi_billing_webhook_posts",
            "Tries to deliver alerts of budgets, by what came of them.",
            labels=["result"],
        )
        for result, count in self._posts.items():
            posts.add_metric([result], count)
        yield posts
        yield from self._commits.collect()
