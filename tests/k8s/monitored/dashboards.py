"""Every query of every dashboard has data, from live scrapes under traffic of all sorts."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.k8s.generate import SERVICES
from tests.k8s.monitored.installation import Monitored
from tests.k8s.monitored.prometheus import faster
from tests.k8s.objects import of_kind

RIGHTLY_EMPTY = {
    ("Failed by our fault", "5xx"): "nothing fails without a fault",
    ("Calls whose last caller left", "{{end}}"): "nobody leaves",
    ("Completions without an answer", "failed"): "every completion has one",
}
"""Panel and legend of what has no data while nothing is wrong, and why."""
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


def empty_panels(monitored: Monitored) -> list[str]:
    """What is wrong: queries without data that should have some."""
    waiting = list(queries(monitored))
    total, begun = len(waiting), time.monotonic()
    while waiting and time.monotonic() - begun < _WITHIN_S:
        waiting = [one for one in waiting if not _has_data(monitored, one)]
        time.sleep(1)
    empty = [one for one in waiting if (one.panel, one.legend) not in RIGHTLY_EMPTY]
    print(f"dashboards: {total} queries, {total - len(waiting)} with data, {len(waiting) - len(empty)} rightly empty")
    return [f"{one.dashboard}: {one.panel}: {one.legend}: no data: {one.expression}" for one in empty]


def _has_data(monitored: Monitored, query: Query) -> bool:
    """NaN, of nothing divided by nothing, is none."""
    return any(
        float(sample["value"][1]) == float(sample["value"][1])
        for sample in monitored.prometheus.query(query.expression)
    )
