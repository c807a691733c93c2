"""Which fields of manifests the runner acts on, and which it does not enforce. Any other field is an error."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.objects import name_of
from tests.k8s.rendering import Object

_POD = """
metadata.labels.* spec.serviceAccountName spec.terminationGracePeriodSeconds spec.restartPolicy
spec.securityContext.runAsUser spec.securityContext.runAsGroup spec.securityContext.runAsNonRoot
spec.securityContext.fsGroup spec.volumes[].name spec.volumes[].emptyDir spec.volumes[].secret.secretName
spec.volumes[].secret.defaultMode spec.volumes[].configMap.name
"""
_CONTAINER = """
name image command[] env[].name env[].value env[].valueFrom.secretKeyRef.name env[].valueFrom.secretKeyRef.key
env[].valueFrom.secretKeyRef.optional env[].valueFrom.fieldRef.fieldPath
ports[].name ports[].containerPort lifecycle.preStop.sleep.seconds
resources.limits.memory resources.requests.cpu securityContext.allowPrivilegeEscalation
securityContext.capabilities.drop[] securityContext.readOnlyRootFilesystem volumeMounts[].name volumeMounts[].mountPath
volumeMounts[].readOnly
"""
_PROBE = "periodSeconds timeoutSeconds failureThreshold grpc.port httpGet.path httpGet.port httpGet.scheme"
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_POD_NOT_ENFORCED = """
metadata.annotations.*
spec.automountServiceAccountToken spec.enableServiceLinks spec.securityContext.fsGroupChangePolicy
spec.securityContext.seccompProfile.type spec.topologySpreadConstraints[].* spec.volumes[].emptyDir.sizeLimit
"""
"""Tokens and links do not exist here, podman's own seccomp profile is that of the runtime, there is one node, and a
volume has no limit."""
_CONTAINER_NOT_ENFORCED = "imagePullPolicy resources.requests.memory"

KINDS_NOT_ENFORCED = (
    "NetworkPolicy", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule", "ServiceAccount",
)  # fmt: skip
"""Kinds that are taken and change nothing."""


def _pod(prefix: str) -> Iterator[str]:
    for path in (_POD + _POD_NOT_ENFORCED).split():
        yield prefix + path
    for kind in ("initContainers", "containers"):
        for path in (_CONTAINER + _CONTAINER_NOT_ENFORCED).split():
            yield f"{prefix}spec.{kind}[].{path}"
    for probe in _PROBES:
        for path in _PROBE.split():
            yield f"{prefix}spec.containers[].{probe}.{path}"


_ANY = "apiVersion kind metadata.name metadata.namespace metadata.labels.*"
_KNOWN = {
    kind: {*f"{_ANY} {paths}".split(), *_pod(prefix)} if prefix is not None else set(f"{_ANY} {paths}".split())
    for kind, prefix, paths in (
        (
            "Deployment",
            "spec.template.",
            "spec.replicas spec.selector.matchLabels.* spec.minReadySeconds spec.strategy.type "
            "spec.strategy.rollingUpdate.maxSurge spec.strategy.rollingUpdate.maxUnavailable "
            # Not enforced: nobody waits for a deadline here, and no history is kept.
            "spec.progressDeadlineSeconds spec.revisionHistoryLimit",
        ),
        (
            "StatefulSet",
            "spec.template.",
            "spec.replicas spec.selector.matchLabels.* spec.minReadySeconds spec.serviceName spec.podManagementPolicy "
            "spec.updateStrategy.type spec.volumeClaimTemplates[].metadata.name "
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted "
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled "
            # Not enforced: a volume is a folder.
            "spec.revisionHistoryLimit spec.volumeClaimTemplates[].apiVersion spec.volumeClaimTemplates[].kind "
            "spec.volumeClaimTemplates[].metadata.labels.* spec.volumeClaimTemplates[].spec.*",
        ),
        ("Job", "spec.template.", "spec.backoffLimit"),
        (
            "Pod",
            "",
            # Not enforced: whoever runs the runner says when a test pod is made.
            "metadata.annotations.*",
        ),
        (
            "Service",
            None,
            "spec.clusterIP spec.type spec.selector.* spec.ports[].name spec.ports[].port spec.ports[].targetPort "
            # Not enforced: a hint for gateways.
            "spec.ports[].appProtocol metadata.annotations.*",
        ),
        (
            "PodDisruptionBudget",
            None,
            "spec.maxUnavailable spec.selector.matchLabels.* spec.unhealthyPodEvictionPolicy",
        ),
        ("ConfigMap", None, "data.*"),
        ("Secret", None, "type stringData.*"),
    )
}
_ONLY: dict[str, set[Any]] = {
    "Deployment.spec.strategy.type": {"RollingUpdate"},
    "Deployment.spec.strategy.rollingUpdate.maxUnavailable": {0},
    "StatefulSet.spec.podManagementPolicy": {"Parallel"},
    "StatefulSet.spec.updateStrategy.type": {"RollingUpdate"},
    "StatefulSet.spec.persistentVolumeClaimRetentionPolicy.whenScaled": {"Retain"},
    "Service.spec.type": {"ClusterIP"},
    "PodDisruptionBudget.spec.unhealthyPodEvictionPolicy": {"AlwaysAllow"},
}
"""Fields that the runner knows at these values alone."""


class UnknownField(Exception):
    """A field that the runner neither acts on nor lists as not enforced."""


def check_fields(one: Object) -> None:
    """Returns if the runner knows what an object asks for.

    Raises:
        UnknownField: it does not; the message names object and field.
    """
    kind = one["kind"]
    if kind in KINDS_NOT_ENFORCED:
        return
    if kind not in _KNOWN:
        raise UnknownField(f"{name_of(one)}: the runner does not know this kind")
    for path, value in _leaves(one, ""):
        if not _is_known(path, _KNOWN[kind]):
            raise UnknownField(f"{name_of(one)}: {path}: the runner neither acts on it nor lists it as not enforced")
        if value not in _ONLY.get(f"{kind}.{path}", {value}):
            raise UnknownField(f"{name_of(one)}: {path}: the runner does not know {value!r}")
    pod = (
        one["spec"].get("template", one).get("spec", {}) if kind in ("Deployment", "StatefulSet", "Job", "Pod") else {}
    )
    if len(pod.get("containers", [0])) != 1:
        raise UnknownField(f"{name_of(one)}: the runner starts one container for each pod, beside those before it")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{path}[]")
    else:
        yield path, value


def _is_known(path: str, known: set[str]) -> bool:
    if path in known:
        return True
    steps = path.split(".")
    return any(".".join(steps[:end]) + ".*" in known for end in range(1, len(steps)))
