"""Wrong values are refused before anything is rendered, by the name of the key."""

from typing import Any

import pytest

from tests.k8s.rendering import Charts

_EMBEDDED = {"database": {"embedded": True}}
WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    # Chart, values, the key that has to be named.
    ("edge", {"replica": 2}, "replica"),
    ("edge", {"replicas": "2"}, "replicas"),
    ("edge", {"replicas": 0}, "replicas"),
    ("edge", {"image": {"tagg": "1"}}, "tagg"),
    ("edge", {"image": {"tag": "latest"}}, "tag"),
    ("edge", {"image": {"digest": "sha256:abc"}}, "digest"),
    ("edge", {"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ("edge", {"logLevel": "loud"}, "logLevel"),
    ("edge", {"requestTimeoutSeconds": 0}, "requestTimeoutSeconds"),
    ("edge", {"shutdownGraceSeconds": 10}, "shutdownGraceSeconds"),
    ("edge", {"spool": {"persistent": "yes"}}, "persistent"),
    ("edge", {"spool": {"size": "1GB"}}, "size"),
    ("edge", {"spool": {"sync": "never"}}, "sync"),
    ("edge", {"ingress": {"enabled": True}}, "host"),
    ("edge", {"gateway": {"httpRoute": True}}, "parentRefs"),
    (
        "edge",
        {"tls": {"existingSecret": "t"}, "gateway": {"httpRoute": True, "parentRefs": [{"name": "x"}]}},
        "httpRoute",
    ),
    ("edge", {"service": {"type": "External"}}, "type"),
    ("edge", {"service": {"httpPort": 70000}}, "httpPort"),
    ("edge", {"resources": {"limits": {"memory": "1GB"}, "requests": {}}}, "memory"),
    ("edge", {"resources": {"request": {"memory": "1Gi"}, "requests": {}}}, "request"),
    ("edge", {"trustedProxies": ["10.0.0.0"]}, "trustedProxies"),
    ("edge", {"tracing": {"endpoint": "collector:4317"}}, "endpoint"),
    ("edge", {"tracing": {"ratio": 2}}, "ratio"),
    ("edge", {"probes": {"liveness": {"period": 10}}}, "period"),
    ("edge", {"preStopSeconds": 0}, "preStopSeconds"),
    ("edge", {"limits": {"maxBodyBytes": 1}}, "maxBodyBytes"),
    ("auth", {"signup": "everybody"}, "signup"),
    ("auth", {"oidc": {"issuer": "http://login.example.com"}}, "issuer"),
    ("auth", {"oidc": {"scopes": {"it": "root"}}}, "scopes"),
    ("auth", {"auditKey": {"existingSecret": ""}}, "auditKey"),
    ("auth", {"database": {"existingSecret": ""}}, "existingSecret"),
    ("auth", {"database": {"url": "postgresql://…"}}, "url"),
    ("auth", _EMBEDDED | {"replicas": 2}, "replicas"),
    ("auth", _EMBEDDED | {"replicas": 1, "autoscaling": {"enabled": True}}, "autoscaling"),
    ("auth", {"identity": {"mode": "trust"}}, "mode"),
    ("auth", {"identity": {"mode": "token"}}, "existingSecret"),
    ("auth", {"identity": {"certificates": {"existingSecret": ""}}}, "existingSecret"),
    ("auth", {"identity": {"certificates": {"certManager": {"enabled": True}}}}, "name"),
    ("auth", {"serviceAccount": {"create": False}}, "serviceAccount"),
    ("cache", {"replicas": 2}, "replicas"),
    ("cache", {"autoscaling": {"enabled": True}}, "autoscaling"),
    ("cache", {"entries": {"organizationShare": 1.5}}, "organizationShare"),
    ("router", {"providers": {"existingSecret": ""}}, "providers"),
    ("router", {"providers": {"openaiBaseUrl": "api.example.com"}}, "openaiBaseUrl"),
    ("billing", {"queueRecords": 10}, "queueRecords"),
    ("billing", {"monitoring": {"alerts": {"runbooks": ""}}}, "runbooks"),
    ("asahi", {"egde": {"replicas": 2}}, "egde"),
    ("asahi", {"edge": {"replica": 2}}, "replica"),
    ("asahi", {"auth": {"signup": "x"}}, "signup"),
    ("asahi", {"denyByDefault": "no"}, "denyByDefault"),
)


@pytest.mark.parametrize(("chart", "values", "key"), WRONG)
def test_a_wrong_value_is_refused_by_its_keys_name(
    charts: Charts, chart: str, values: dict[str, Any], key: str
) -> None:
    for version in (3, 4):
        assert key in charts.refusal(chart, values, version=version).partition("schema")[2]


def test_a_name_that_kubernetes_would_cut_is_refused(charts: Charts) -> None:
    assert "fullnameOverride" in charts.refusal("edge", {"fullnameOverride": "x" * 50})


def test_enough_is_refused() -> None:
    assert len(WRONG) >= 25
