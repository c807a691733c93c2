"""The kinds of objects that the API server keeps: where they are, and what kubectl may call them."""

from dataclasses import dataclass
from typing import Any

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind, as discovery tells it."""

    group: str
    version: str
    kind: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def base(self) -> str:
        """Where its group and version are."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def scales(self) -> bool:
        """Whether its replicas are set by a path of their own, too."""
        return self.kind in ("Deployment", "StatefulSet")

    def described(self) -> list[dict[str, Any]]:
        """For discovery."""
        own = {
            "name": self.plural,
            "singularName": self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": _VERBS,
            "shortNames": list(self.short),
        }
        scale = {"name": f"{self.plural}/scale", "namespaced": True, "group": "autoscaling", "version": "v1",
                 "kind": "Scale", "singularName": "", "verbs": ["get", "patch", "update"]}  # fmt: skip
        return [own, scale] if self.scales else [own]


KINDS = (
    Kind("", "v1", "Namespace", "namespaces", ("ns",), namespaced=False),
    Kind("", "v1", "Secret", "secrets"),
    Kind("", "v1", "ConfigMap", "configmaps", ("cm",)),
    Kind("", "v1", "Service", "services", ("svc",)),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", ("sa",)),
    Kind("", "v1", "Pod", "pods", ("po",)),
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", ("pvc",)),
    Kind("", "v1", "Event", "events", ("ev",)),
    Kind("apps", "v1", "Deployment", "deployments", ("deploy",)),
    Kind("apps", "v1", "StatefulSet", "statefulsets", ("sts",)),
    Kind("apps", "v1", "ReplicaSet", "replicasets", ("rs",)),
    Kind("batch", "v1", "Job", "jobs"),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", ("pdb",)),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", ("hpa",)),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses", ("ing",)),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", ("netpol",)),
    Kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    Kind("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    Kind("cert-manager.io", "v1", "Certificate", "certificates", ("cert",)),
    Kind("metrics.k8s.io", "v1beta1", "PodMetrics", "pods"),
)


def groups() -> dict[str, list[str]]:
    """Versions by group, without the core group."""
    found: dict[str, list[str]] = {}
    for one in KINDS:
        if one.group and one.version not in found.setdefault(one.group, []):
            found[one.group].append(one.version)
    return found


def openapi(api_version: str) -> dict[str, Any]:
    """What kubectl asks before it lets the server look at fields: that it does."""
    paths = {}
    for one in (kind for kind in KINDS if kind.api_version == api_version):
        scope = "/namespaces/{namespace}" if one.namespaced else ""
        operation = {
            "x-kubernetes-group-version-kind": {"group": one.group, "version": one.version, "kind": one.kind},
            "parameters": [{"name": name, "in": "query"} for name in ("fieldValidation", "dryRun")],
            "responses": {"200": {"description": "OK"}},
        }
        paths[f"{one.base}{scope}/{one.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.37.1"}, "paths": paths}
