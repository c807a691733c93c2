"""The auth service's figures for Prometheus, read from the objects that count them when they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asahi_auth.domain.watch import VerdictWatch


class AuthCollector(Collector):
    """Figures of the watches; calls are counted by method and code in the core."""

    def __init__(self, watch: VerdictWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        yield GaugeMetricFamily("asahi_auth_watchers", "Watches that stand.", self._watch.watchers)
        yield CounterMetricFamily("asahi_auth_watchers_let_go", "Watches ended for falling behind.", self._watch.let_go)
