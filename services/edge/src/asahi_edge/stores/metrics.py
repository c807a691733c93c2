"""Figures of usage and admission for Prometheus, read from the objects that count them when they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asahi_edge.domain.admission import Admission
from asahi_edge.domain.body_budget import BodyBudget
from asahi_edge.domain.usage import UsageDelivery
from asahi_edge.stores.spool import DiskSpool


class UsageCollector(Collector):
    """Labels: none. The time of syncs is `asahi_edge_spool_sync_seconds`."""

    def __init__(self, usage: UsageDelivery, spool: DiskSpool) -> None:
        self._usage = usage
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        usage, spool = self._usage, self._spool
        yield GaugeMetricFamily("asahi_edge_usage_backlog_records", "Records not acknowledged yet.", usage.backlog)
        yield GaugeMetricFamily(
            "asahi_edge_usage_backlog_age_seconds",
            "Age of the oldest record not acknowledged yet.",
            usage.backlog_age_s,
        )
        yield GaugeMetricFamily("asahi_edge_usage_open_intents", "Provider calls without a record.", spool.open_intents)
        yield GaugeMetricFamily("asahi_edge_spool_bytes", "Bytes that the usage spool takes on the disk.", spool.bytes)
        yield GaugeMetricFamily(
            "asahi_edge_spool_max_bytes", "Bytes above which it admits no new request.", spool.max_bytes
        )
        yield CounterMetricFamily(
            "asahi_edge_spool_damaged_entries", "Stretches of the spool that could not be read.", spool.damaged
        )
        yield CounterMetricFamily("asahi_edge_usage_refused", "Records set aside, refused by billing.", usage.refused)
        yield CounterMetricFamily(
            "asahi_edge_usage_orphans", "Provider calls settled by estimate for want of a record.", usage.orphans
        )


class AdmissionCollector(Collector):
    """Labels: none."""

    def __init__(self, admission: Admission, bodies: BodyBudget) -> None:
        self._admission = admission
        self._bodies = bodies

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        admission = self._admission
        yield GaugeMetricFamily("asahi_edge_requests_under_way", "Inference under way.", admission.under_way)
        yield GaugeMetricFamily("asahi_edge_requests_limit", "Most inference let in at the moment.", admission.limit)
        yield CounterMetricFamily(
            "asahi_edge_requests_not_let_in", "Inference refused as overloaded.", admission.refused
        )
        yield GaugeMetricFamily("asahi_edge_body_bytes", "Bodies of requests under way, in bytes.", self._bodies.used)
