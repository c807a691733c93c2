"""Grafana dashboards: what each shows, as titles, units and queries; everything else is the same for all of them."""

from dataclasses import dataclass
from typing import Any

_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. `queries` are legend and PromQL."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of graphs. `by_service` lets the reader choose one service, `$service` in queries."""

    title: str
    panels: tuple[Panel, ...]
    by_service: bool = False


_HTTP, _HTTP_OF = "asahi_http_request_duration_seconds", 'job="edge",route!~"/health.*"'
_RPC, _COMPLETE = "asahi_rpc_server_duration_seconds", 'job="router",method=~".*/Complete"'
_NO_ANSWER = f'{_COMPLETE},code=~"UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED"'
_EDGE, _CACHE, _BILLING, _CHOSEN = 'job="edge"', 'job="cache"', 'job="billing"', 'job="$service"'


def _of(metric: str, labels: str) -> str:
    return f"{metric}{{{labels}}}"


def _rate(metric: str, labels: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({_of(metric, labels)}[$__rate_interval]))"


def _hour(metric: str, labels: str) -> str:
    return f"sum(increase({_of(metric, labels)}[1h]))"


def _rates(by: str, metric: str, labels: str) -> tuple[tuple[str, str], ...]:
    return ((f"{{{{{by}}}}}", _rate(metric, labels, by)),)


def _by_pod(query: str) -> tuple[tuple[str, str], ...]:
    return (("{{pod}}", query),)


def _quantiles(histogram: str, labels: str) -> tuple[tuple[str, str], ...]:
    buckets = _rate(f"{histogram}_bucket", labels, "le")
    return tuple((f"p{share * 100:g}", f"histogram_quantile({share}, {buckets})") for share in (0.5, 0.9, 0.99))


def _share(name: str, metric: str, part: str, of: str) -> tuple[tuple[str, str], ...]:
    return ((name, f"{_rate(metric, part)} / {_rate(metric, of)}"),)


DASHBOARDS: dict[str, Dashboard] = {
    "traffic": Dashboard(
        "Asahi: traffic",
        (
            Panel("Requests by route", "reqps", _rates("route", f"{_HTTP}_count", _HTTP_OF)),
            Panel("Requests by status", "reqps", _rates("status", f"{_HTTP}_count", _HTTP_OF)),
            Panel(
                "Failed by our fault",
                "percentunit",
                _share("5xx", f"{_HTTP}_count", f'{_HTTP_OF},status=~"5.."', _HTTP_OF),
            ),
            Panel("Time until an answer was sent", "s", _quantiles(_HTTP, _HTTP_OF)),
            Panel("gRPC calls of customers", "reqps", _rates("code", f"{_RPC}_count", _EDGE)),
            Panel("Requests by pod", "reqps", _rates("pod", f"{_HTTP}_count", _HTTP_OF)),
            Panel(
                "Inference under way, and most let in",
                "short",
                (
                    ("{{pod}}", _of("asahi_edge_requests_under_way", _EDGE)),
                    ("{{pod}}, most", _of("asahi_edge_requests_limit", _EDGE)),
                ),
            ),
            Panel(
                "Inference refused as overloaded", "reqps", _rates("pod", "asahi_edge_requests_not_let_in_total", _EDGE)
            ),
            Panel("Bodies of requests under way", "bytes", _by_pod(_of("asahi_edge_body_bytes", _EDGE))),
        ),
    ),
    "money": Dashboard(
        "Asahi: money",
        (
            Panel("Records taken by the ledger", "ops", _rates("result", "asahi_billing_records_total", _BILLING)),
            Panel("Records that wait at edges", "short", _by_pod(_of("asahi_edge_usage_backlog_records", _EDGE))),
            Panel("Age of the oldest of them", "s", _by_pod(_of("asahi_edge_usage_backlog_age_seconds", _EDGE))),
            Panel("Spool on disk", "bytes", _by_pod(_of("asahi_edge_spool_bytes", _EDGE))),
            Panel(
                "Billed by estimate, refused, damaged",
                "short",
                (
                    ("orphans", _hour("asahi_edge_usage_orphans_total", _EDGE)),
                    ("refused", _hour("asahi_edge_usage_refused_total", _EDGE)),
                    ("damaged", _hour("asahi_edge_spool_damaged_entries_total", _EDGE)),
                ),
            ),
            Panel(
                "The ledger",
                "short",
                (
                    ("waiting", f"sum({_of('asahi_billing_waiting_records', _BILLING)})"),
                    ("answered twice", f"max({_of('asahi_billing_repeated_answers', _BILLING)})"),
                ),
            ),
            Panel("Time of a transaction", "s", _quantiles("asahi_billing_commit_seconds", _BILLING)),
            Panel(
                "Holds that nobody ended",
                "ops",
                (("expired", _rate("asahi_billing_expired_holds_total", _BILLING)),),
            ),
        ),
    ),
    "cache": Dashboard(
        "Asahi: cache",
        (
            Panel("Look-ups", "reqps", _rates("result", "asahi_cache_lookups_total", _CACHE)),
            Panel(
                "Share of look-ups that hit",
                "percentunit",
                _share("hits", "asahi_cache_lookups_total", f'{_CACHE},result!="miss"', _CACHE),
            ),
            Panel(
                "Memory",
                "bytes",
                (("entries", _of("asahi_cache_bytes", _CACHE)), ("flights", _of("asahi_cache_flight_bytes", _CACHE))),
            ),
            Panel("Answers kept", "short", (("entries", _of("asahi_cache_entries", _CACHE)),)),
            Panel(
                "Answers that left",
                "ops",
                (
                    *_rates("cause", "asahi_cache_evictions_total", _CACHE),
                    ("expired", _rate("asahi_cache_expired_total", _CACHE)),
                ),
            ),
            Panel(
                "Requests under way",
                "short",
                (
                    ("flights", _of("asahi_cache_flights", _CACHE)),
                    ("followers", _of("asahi_cache_flight_followers", _CACHE)),
                    ("edges", _of("asahi_cache_attached_edges", _CACHE)),
                    ("replicas without Redis", _of("asahi_cache_alone", _CACHE)),
                ),
            ),
        ),
    ),
    "routing": Dashboard(
        "Asahi: routing",
        (
            Panel("Completions by end", "reqps", _rates("code", f"{_RPC}_count", _COMPLETE)),
            Panel("Time of a completion", "s", _quantiles(_RPC, _COMPLETE)),
            Panel(
                "Completions without an answer",
                "percentunit",
                _share("failed", f"{_RPC}_count", _NO_ANSWER, _COMPLETE),
            ),
            Panel("Calls whose last caller left", "ops", _rates("end", "asahi_deserted_calls_total", _EDGE)),
            Panel("Provider calls without a record", "short", _by_pod(_of("asahi_edge_usage_open_intents", _EDGE))),
            Panel("Completions by pod", "reqps", _rates("pod", f"{_RPC}_count", _COMPLETE)),
        ),
    ),
    "service": Dashboard(
        "Asahi: one service",
        (
            Panel("Calls by end", "reqps", _rates("code", f"{_RPC}_count", _CHOSEN)),
            Panel("Time of a call", "s", _quantiles(_RPC, _CHOSEN)),
            Panel("CPU", "short", _rates("pod", "process_cpu_seconds_total", _CHOSEN)),
            Panel("Memory", "bytes", _by_pod(_of("process_resident_memory_bytes", _CHOSEN))),
            Panel("Open files and connections", "short", _by_pod(_of("process_open_fds", _CHOSEN))),
            Panel("Up since", "dateTimeFromNow", _by_pod("1000 * " + _of("process_start_time_seconds", _CHOSEN))),
            Panel(
                "Certificate ends in",
                "s",
                _by_pod(_of("asahi_certificate_expiry_timestamp_seconds", _CHOSEN) + " - time()"),
            ),
        ),
        by_service=True,
    ),
}


def grafana(name: str, dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    variables: list[dict[str, Any]] = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    ]
    if dashboard.by_service:
        names = "edge,auth,cache,router,billing"
        current = {"text": "edge", "value": "edge"}
        variables.append({"name": "service", "type": "custom", "query": names, "current": current})
    return {
        "uid": f"asahi-{name}",
        "title": dashboard.title,
        "tags": ["asahi"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expr, "legendFormat": legend}
            for index, (legend, expr) in enumerate(panel.queries)
        ],
    }
