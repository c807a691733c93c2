"""Alerts fire when they should and not when they need not; alerts and dashboards use only metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.k8s.generate import CHARTS, SERVICES, alerts_of
from tests.documents import ROOT
from tests.k8s.rendering import promtool

RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
_METRIC = re.compile(r"\b(?:asahi|process)_[a-z_]+")
_SUFFIXES = ("_bucket", "_count", "_sum", "_total")
_HTTP, _RPC = "asahi_http_request_duration_seconds_count", "asahi_rpc_server_duration_seconds_count"
_QUIET, _MOVING = "0x400", "0+60x400"
"""A figure of nothing for 400 minutes, and one that grows by one a second."""
FIRING: dict[str, dict[str, str]] = {
    # Alert: series with which it fires. Without any but the service's being there, none fires.
    "AsahiErrorBudgetBurnsFast": {_HTTP + '{job="edge",route="/infer",status="503"}': _MOVING},
    "AsahiErrorBudgetBurnsSlowly": {
        _HTTP + '{job="edge",route="/infer",status="503"}': "0+1x400",
        _HTTP + '{job="edge",route="/infer",status="200"}': "0+99x400",
    },
    "AsahiUsageWaits": {'asahi_edge_usage_backlog_age_seconds{job="edge",pod="a"}': "600x400"},
    "AsahiOverhead": {
        'asahi_overhead_seconds_bucket{job="edge",answered_by="provider",le="0.1"}': "0+10x400",
        'asahi_overhead_seconds_bucket{job="edge",answered_by="provider",le="0.25"}': _MOVING,
        'asahi_overhead_seconds_bucket{job="edge",answered_by="provider",le="+Inf"}': _MOVING,
    },
    "AsahiSpoolFills": {
        'asahi_edge_spool_bytes{job="edge",pod="a"}': "250000000x400",
        'asahi_edge_spool_max_bytes{job="edge",pod="a"}': "268435456x400",
    },
    "AsahiUsageRefused": {'asahi_edge_usage_refused_total{job="edge",pod="a"}': "0+1x400"},
    "AsahiSpoolDamaged": {'asahi_edge_spool_damaged_entries_total{job="edge",pod="a"}': "0+1x400"},
    "AsahiOrphans": {'asahi_edge_usage_orphans_total{job="edge",pod="a"}': "0+1x400"},
    "AsahiRevocationsUnheard": {'asahi_auth_watchers{job="auth"}': _QUIET},
    "AsahiAuthSlow": {
        'asahi_rpc_server_duration_seconds_bucket{job="auth",method="/a/Authenticate",le="0.25"}': "0+10x400",
        'asahi_rpc_server_duration_seconds_bucket{job="auth",method="/a/Authenticate",le="1"}': _MOVING,
        'asahi_rpc_server_duration_seconds_bucket{job="auth",method="/a/Authenticate",le="+Inf"}': _MOVING,
    },
    "AsahiLedgerBroken": {'asahi_billing_ledger_breaks{job="billing"}': "1x400"},
    "AsahiAnsweredTwice": {'asahi_billing_repeated_answers{job="billing"}': "0+1x400"},
    "AsahiLedgerLags": {
        'asahi_billing_waiting_records{job="billing",pod="a"}': "15000x400",
        'asahi_billing_queue_records{job="billing",pod="a"}': "20000x400",
    },
    "AsahiLedgerSlow": {
        'asahi_billing_commit_seconds_bucket{job="billing",le="0.5"}': "0+10x400",
        'asahi_billing_commit_seconds_bucket{job="billing",le="1"}': _MOVING,
        'asahi_billing_commit_seconds_bucket{job="billing",le="+Inf"}': _MOVING,
    },
    "AsahiRecordsRejected": {
        'asahi_billing_refused_calls_total{job="billing"}': "0+1x400",
        'asahi_billing_rejected_records_total{job="billing"}': _QUIET,
    },
    "AsahiCacheAlone": {'asahi_cache_attached_edges{job="cache"}': _QUIET},
    "AsahiCacheWithoutRedis": {'asahi_cache_alone{job="cache",pod="a"}': "1x400"},
    "AsahiWebhooksFail": {
        'asahi_billing_webhook_posts_total{job="billing",result="failed"}': "0+2x400",
        'asahi_billing_webhook_posts_total{job="billing",result="delivered"}': "0+1x400",
    },
    "AsahiTierTwoBound": {'asahi_semantic_bounds_exceeded{job="cache",pod="a"}': "1x400"},
    "AsahiCacheTooSmall": {
        'asahi_cache_evictions_total{job="cache",cause="total"}': _MOVING,
        'asahi_cache_entries{job="cache"}': "100x400",
    },
    "AsahiProvidersFail": {_RPC + '{job="router",method="/r/Complete",code="UNAVAILABLE"}': _MOVING},
    "AsahiServiceFails": {_RPC + '{job="SERVICE",method="/a/B",code="INTERNAL"}': _MOVING},
    "AsahiServiceMissing": {},
    "AsahiCertificateEnds": {'asahi_certificate_expiry_timestamp_seconds{job="SERVICE",pod="a"}': "86400x400"},
}


def _alerts() -> list[tuple[str, dict[str, Any]]]:
    return [(name, rule) for name in SERVICES for rule in alerts_of(name)["groups"][0]["rules"]]


@pytest.mark.parametrize("service", SERVICES)
def test_alerts_fire_on_their_fault_and_on_none_else(service: str, tmp_path: Path) -> None:
    alerts = CHARTS / service / "files" / "alerts.yaml"
    rules = [rule["alert"] for name, rule in _alerts() if name == service]
    there = f'process_start_time_seconds{{job="{service}"}}'
    tests = []
    for alert in rules:
        series = {key.replace("SERVICE", service): value for key, value in FIRING[alert].items()}
        with_it = series if alert == "AsahiServiceMissing" else {there: "1x400", **series}
        tests.append(_case(with_it, [(alert, True)]))
        tests.append(_case({there: "1x400"}, [(alert, False)]))
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(alerts)], "evaluation_interval": "1m", "tests": tests}))
    checked = promtool("check", "rules", str(alerts))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def _case(series: dict[str, str], expected: list[tuple[str, bool]]) -> dict[str, Any]:
    """That an alert is firing, or not, after six hours and a half; how many and with which labels is left open."""
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}}))',
                "eval_time": "390m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for alert, fires in expected
        ],
    }


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    pages = {rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/") for _, rule in _alerts()}
    assert pages == {path.name for path in RUNBOOKS.glob("*.md")}
    for name, rule in _alerts():
        page = (RUNBOOKS / rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/")).read_text(encoding="utf-8")
        assert rule["alert"] in page, f"{name}: {rule['alert']}"


def test_alerts_and_dashboards_use_only_metrics_that_services_have() -> None:
    sources = [*(ROOT / "services").glob("*/src/**/*.py"), *(ROOT / "libs" / "asahi-core" / "src").rglob("*.py")]
    exported = set(re.findall(r'"((?:asahi)_[a-z_]+)"', " ".join(path.read_text(encoding="utf-8") for path in sources)))
    exported |= {"process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
    exported |= {"process_open_fds"}
    queries = [rule["expr"] for _, rule in _alerts()]
    for path in (CHARTS / "asahi" / "files" / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
        queries += [target["expr"] for panel in panels for target in panel["targets"]]
    used = {metric for query in queries for metric in _METRIC.findall(query)}
    unknown = {
        metric for metric in used if not {metric, *(metric.removesuffix(suffix) for suffix in _SUFFIXES)} & exported
    }
    assert len(used) > 20
    assert not unknown
