"""Every rule finds its defect, put into the correct production profile one at a time, and names object and field."""

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.k8s.objects import name_of
from tests.k8s.rendering import Charts, Object
from tests.k8s.schemas import schema_findings
from tests.k8s.test_rendering import findings

Plant = Callable[[Object], None]


def _server(one: Object) -> Any:
    return one["spec"]["template"]["spec"]["containers"][0]


def _steps(at: str) -> list[str | int]:
    """`spec/env/0`: numbers are places in lists, `~` stands for a `/` in a key."""
    return [int(step) if step.isdigit() else step.replace("~", "/") for step in at.split("/")]


def _inside(one: Object, way: list[str | int]) -> Any:
    inside: Any = one
    for step in way:
        inside = inside[step]
    return inside


def _put(at: str, value: Any) -> Plant:
    """Sets what is at a place."""

    def plant(one: Object) -> None:
        *way, last = _steps(at)
        _inside(one, way)[last] = value

    return plant


def _take(at: str) -> Plant:
    def plant(one: Object) -> None:
        *way, last = _steps(at)
        del _inside(one, way)[last]

    return plant


def _env(name: str, value: str) -> Plant:
    def plant(one: Object) -> None:
        variables = _server(one)["env"]
        variables[:] = [{"name": name, "value": value} if had["name"] == name else had for had in variables]

    return plant


def _twice(at: str) -> Plant:
    def plant(one: Object) -> None:
        inside = _inside(one, _steps(at))
        inside.append(deepcopy(inside[0]))

    return plant


def _add_probe_handler(one: Object) -> None:
    _server(one)["livenessProbe"]["httpGet"] = {"port": "grpc", "path": "/"}


_NGINX = "nginx.ingress.kubernetes.io~proxy"
_SERVER = "spec/template/spec/containers/0"
_AUTH, _EDGE, _JOB = "Deployment/asahi-auth", "StatefulSet/asahi-edge", "Job/asahi-auth-migrate"
DEFECTS: tuple[tuple[str, Plant, str], ...] = (
    # Object, defect, and the field that the finding has to name.
    (_AUTH, _put("spec/selector/matchLabels/app.kubernetes.io~name", "x"), "selector"),
    (_AUTH, _put("apiVersion", "apps/v1beta2"), "apiVersion"),
    ("PodDisruptionBudget/asahi-auth", _put("apiVersion", "policy/v1beta1"), "apiVersion"),
    ("HorizontalPodAutoscaler/asahi-auth", _put("apiVersion", "autoscaling/v2beta2"), "apiVersion"),
    ("ConfigMap/asahi-edge-test", _put("kind", "Secret"), "kind"),
    (_AUTH, _put("spec/strategy/rollingUpdate/maxUnavailable", 1), "maxUnavailable"),
    (_AUTH, _put("spec/strategy/rollingUpdate/maxSurge", 0), "maxSurge"),
    (_AUTH, _put("spec/replicas", 3), "replicas"),
    (_AUTH, _put("metadata/name", "Asahi_auth"), "metadata.name"),
    (_AUTH, _put("metadata/labels/team", "x" * 64), "metadata.labels"),
    (_AUTH, _put("metadata/namespace", "default"), "metadata.namespace"),
    (_AUTH, _put(f"{_SERVER}/resources/limits/memory", "256MB"), "limits.memory"),
    (_AUTH, _put(f"{_SERVER}/resources/requests/memory", "2Gi"), "requests.memory"),
    (_AUTH, _take(f"{_SERVER}/resources/requests/cpu"), "requests.cpu"),
    (_AUTH, _put(f"{_SERVER}/volumeMounts/0/name", "nothing"), "volumeMounts"),
    (_AUTH, _put(f"{_SERVER}/volumeMounts/0/subPath", "tls.crt"), "volumeMounts"),
    (_AUTH, _put(f"{_SERVER}/ports/0/name", "a-name-much-too-long"), "ports"),
    (_AUTH, _twice(f"{_SERVER}/ports"), "ports"),
    (_AUTH, _twice(f"{_SERVER}/env"), "env"),
    (_AUTH, _twice(f"{_SERVER}/volumeMounts"), "volumeMounts"),
    (_AUTH, _put(f"{_SERVER}/image", "asahi/auth:latest"), "image"),
    (_AUTH, _env("ASAHI_AUDIT_KEY", "in plain sight"), "ASAHI_AUDIT_KEY"),
    (_AUTH, _add_probe_handler, "livenessProbe"),
    (_AUTH, _take(f"{_SERVER}/readinessProbe"), "readinessProbe"),
    (_AUTH, _put(f"{_SERVER}/livenessProbe/successThreshold", 2), "successThreshold"),
    (_AUTH, _put(f"{_SERVER}/livenessProbe/grpc/port", 50069), "livenessProbe"),
    (_AUTH, _put(f"{_SERVER}/livenessProb", {}), "livenessProb"),
    (_EDGE, _put(f"{_SERVER}/livenessProbe/httpGet/path", "/health"), "livenessProbe"),
    (_EDGE, _put(f"{_SERVER}/readinessProbe/httpGet/port", "https"), "readinessProbe"),
    (_EDGE, _put(f"{_SERVER}/readinessProbe/httpGet/scheme", "HTTPS"), "readinessProbe.httpGet.scheme"),
    (_AUTH, _put(f"{_SERVER}/lifecycle/preStop/sleep/seconds", 45), "preStop"),
    (_AUTH, _put(f"{_SERVER}/lifecycle/preStop/exec", {"command": ["true"]}), "preStop"),
    (_EDGE, _put("spec/template/spec/terminationGracePeriodSeconds", 60), "terminationGracePeriodSeconds"),
    (_EDGE, _env("ASAHI_SHUTDOWN_GRACE_SECONDS", "30"), "ASAHI_SHUTDOWN_GRACE_SECONDS"),
    (_AUTH, _take("spec/template/spec/securityContext/runAsNonRoot"), "runAsNonRoot"),
    (_AUTH, _put("spec/template/spec/securityContext/runAsUser", 0), "runAsUser"),
    (_AUTH, _take(f"{_SERVER}/securityContext/allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    (_AUTH, _put(f"{_SERVER}/securityContext/readOnlyRootFilesystem", False), "readOnlyRootFilesystem"),
    (_AUTH, _put(f"{_SERVER}/securityContext/capabilities", {}), "capabilities"),
    (_AUTH, _take("spec/template/spec/automountServiceAccountToken"), "automountServiceAccountToken"),
    (_AUTH, _take("spec/template/spec/enableServiceLinks"), "enableServiceLinks"),
    (_AUTH, _put("spec/template/spec/serviceAccountName", "nobody"), "serviceAccountName"),
    (_AUTH, _put("spec/template/spec/volumes/0/secret/secretName", "nothing"), "volumes"),
    (_AUTH, _env("ASAHI_MIGRATE_AT_START", "true"), "ASAHI_MIGRATE_AT_START"),
    (_AUTH, _take("spec/template/spec/initContainers"), "initContainers"),
    (_JOB, _put("spec/template/spec/restartPolicy", "OnFailure"), "restartPolicy"),
    (_JOB, _put(f"{_SERVER}/env/1/valueFrom/secretKeyRef/key", "address"), "DATABASE_URL"),
    (_EDGE, _env("ASAHI_AUTH_TARGET", "dns:///other-auth.asahi.svc:50051"), "ASAHI_AUTH_TARGET"),
    (_EDGE, _env("ASAHI_AUTH_TARGET", "dns:///asahi-auth.asahi.svc:50052"), "ASAHI_AUTH_TARGET"),
    (_EDGE, _put("spec/serviceName", "asahi-edge"), "serviceName"),
    ("Service/asahi-auth", _put("spec/ports/0/targetPort", "rpc"), "targetPort"),
    ("Service/asahi-auth", _put("spec/selector", {"app": "auth"}), "selector"),
    ("Service/asahi-auth", _take("spec/selector/app.kubernetes.io~component"), "selector"),
    ("Service/asahi-auth", _take("spec/clusterIP"), "clusterIP"),
    ("PodDisruptionBudget/asahi-auth", _put("spec/minAvailable", 1), "spec"),
    ("PodDisruptionBudget/asahi-auth", _put("spec/maxUnavailable", 0), "spec"),
    ("PodDisruptionBudget/asahi-auth", _put("spec/selector/matchLabels", {"app": "auth"}), "selector"),
    ("HorizontalPodAutoscaler/asahi-auth", _put("spec/scaleTargetRef/name", "auth"), "scaleTargetRef"),
    ("HorizontalPodAutoscaler/asahi-auth", _put("spec/maxReplicas", 1), "maxReplicas"),
    ("NetworkPolicy/asahi-auth", _put("spec/policyTypes", ["Ingress"]), "policyTypes"),
    ("NetworkPolicy/asahi-auth", _put("spec/podSelector/matchLabels", {"app": "auth"}), "podSelector"),
    ("NetworkPolicy/asahi-auth", _take("spec/ingress/0/from"), "ingress"),
    ("NetworkPolicy/asahi-auth", _put("spec/ingress/1/ports/0/port", 9091), "ingress"),
    ("NetworkPolicy/asahi-billing", _take("spec/ingress/1"), "ingress"),
    ("NetworkPolicy/asahi-edge", _take("spec/egress/1"), "egress"),
    ("NetworkPolicy/asahi-router", _take("spec/egress/1/to"), "egress"),
    ("ServiceMonitor/asahi-auth", _put("spec/endpoints/0/port", "prometheus"), "endpoints"),
    ("Ingress/asahi-edge", _put("spec/rules/0/http/paths/0/backend/service/port/name", "https"), "backend"),
    ("Ingress/asahi-edge", _put(f"metadata/annotations/{_NGINX}-read-timeout", "60"), "read-timeout"),
    ("Ingress/asahi-edge", _put(f"metadata/annotations/{_NGINX}-buffering", "on"), "proxy-buffering"),
    ("HTTPRoute/asahi-edge", _put("spec/rules/0/backendRefs/0/port", 8080), "backendRefs"),
    ("HTTPRoute/asahi-edge", _put("spec/rules/0/timeouts/backendRequest", "15s"), "timeouts.backendRequest"),
    ("HTTPRoute/asahi-edge", _put("spec/rules/0/timeout", "600s"), "timeout"),
    ("GRPCRoute/asahi-edge", _put("spec/rules/0/backendRefs/0/name", "edge"), "backendRefs"),
)
_ENTRIES = {
    "ingress": {"enabled": True, "host": "asahi.example.com"},
    "gateway": {"httpRoute": True, "grpcRoute": True, "parentRefs": [{"name": "public"}]},
}


@pytest.fixture(scope="module")
def production(charts: Charts) -> list[Object]:
    """The production profile with every way in, which is without a fault."""
    objects = charts.objects("asahi", {"edge": _ENTRIES}, profile="production")
    assert not list(findings(objects))
    return objects


@pytest.mark.parametrize("number", range(len(DEFECTS)), ids=lambda n: f"{DEFECTS[n][0]} {DEFECTS[n][2]} {n}")
def test_a_planted_defect_is_found_and_named(production: list[Object], number: int) -> None:
    where, plant, field = DEFECTS[number]
    objects = deepcopy(production)
    broken = next(one for one in objects if re.sub("-[0-9a-f]{8}$", "", name_of(one)) == where)
    plant(broken)
    found = [*findings(objects), *schema_findings(broken, "1.30.0"), *schema_findings(broken, "1.37.0")]
    names = {name_of(broken), where}
    assert any(fault.where in names and field in f"{fault.field} {fault.what}" for fault in found), (
        "\n".join(map(str, found)) or "nothing was found"
    )


def test_a_service_that_is_there_twice_is_found(production: list[Object]) -> None:
    twice = next(one for one in production if name_of(one) == "Service/asahi-auth")
    assert any(fault.what == "there are two of them" for fault in findings([*production, twice]))


def test_enough_defects_are_planted() -> None:
    assert len(DEFECTS) >= 35
