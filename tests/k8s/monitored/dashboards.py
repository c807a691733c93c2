"""Every query of every dashboard has data, from live scrapes under traffic of all sorts."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.k8s.generate import SERVICES
from tests.k8s.monitored import faults
from tests.k8s.monitored.installation import Monitored
from tests.k8s.monitored.prometheus import faster
from tests.k8s.objects import of_kind

OF_FAULTS = {
    ("Failed by our fault", "5xx"),
    ("Calls whose last caller left", "{{end}}"),
    ("Completions without an answer", "failed"),
}
"""Panel and legend of what has no data while nothing is wrong: looked at while callers leave and providers are down."""
_WITHIN_S = 120.0
_RATE = faster("4m")
"""Grafana's `$__rate_interval` for a scrape interval of a minute, as this Prometheus has time."""


@dataclass(frozen=True, slots=True)
class Query:
    """One line of a panel."""

    dashboard: str
    panel: str
    legend: str
    expression: str


def queries(monitored: Monitored) -> Iterator[Query]:
    """Every query of the rendered dashboards, those of "one service" for each service that has them."""
    for one in of_kind(monitored.objects, "ConfigMap"):
        for name, text in one["data"].items():
            if not name.endswith(".json"):
                continue
            dashboard = json.loads(text)
            for panel in dashboard["panels"]:
                for target in panel["targets"]:
                    for service in SERVICES if "$service" in target["expr"] else ("",):
                        expression = target["expr"].replace("$service", service)
                        expression = expression.replace("$__rate_interval", _RATE).replace("[1h]", f"[{faster('1h')}]")
                        yield Query(
                            f"{dashboard['title']} {service}".strip(),
                            panel["title"],
                            target["legendFormat"],
                            expression,
                        )


def look_at_dashboards(monitored: Monitored) -> tuple[str, list[str]]:
    """How many queries had data, and what is wrong: those that never had."""
    all_of = list(queries(monitored))
    of_faults = [one for one in all_of if (one.panel, one.legend) in OF_FAULTS]
    empty = _without_data(monitored, [one for one in all_of if one not in of_faults])
    with faults.callers_leave(monitored), faults.providers_down(monitored):
        empty += _without_data(monitored, of_faults)
    total = len(all_of)
    told = (
        f"Dashboards: {total - len(empty)} of {total} queries had data, {len(of_faults)} of them looked at in a fault."
    )
    return told, [f"{one.dashboard}: {one.panel}: {one.legend}: no data: {one.expression}" for one in empty]


def _without_data(monitored: Monitored, waiting: list[Query]) -> list[Query]:
    """Those that have none in time."""
    begun = time.monotonic()
    while waiting and time.monotonic() - begun < _WITHIN_S:
        waiting = [one for one in waiting if not _has_data(monitored, one)]
        time.sleep(1)
    return waiting


def _has_data(monitored: Monitored, query: Query) -> bool:
    """NaN, of nothing divided by nothing, is none."""
    return any(
        float(sample["value"][1]) == float(sample["value"][1])
        for sample in monitored.prometheus.query(query.expression)
    )
