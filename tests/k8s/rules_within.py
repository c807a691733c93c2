"""Rules that one object has to meet by itself. Each yields what breaks it."""

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.k8s.objects import SERVERS, Finding, Pod, name_of, of_kind, pods_of, servers_of
from tests.k8s.rendering import NAMESPACE, Object

Findings = Iterator[Finding]
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SHORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_POWERS: dict[str | None, Decimal] = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGT", 1)}
_FACTORS: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    **_POWERS,
}
_SECRET_NAMES = re.compile(r"(KEY|SECRET|PASSWORD|TOKENS?|_URL)$")
_HARMLESS = {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "ASAHI_SIMULATOR_URL"}
_HANDLERS = {"httpGet", "grpc", "exec", "tcpSocket", "sleep"}
VERSIONS = {
    "ConfigMap": "v1", "PersistentVolumeClaim": "v1", "Pod": "v1", "Service": "v1", "ServiceAccount": "v1",
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
    "NetworkPolicy": "networking.k8s.io/v1", "Ingress": "networking.k8s.io/v1", "PodDisruptionBudget": "policy/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1", "PrometheusRule": "monitoring.coreos.com/v1",
    "Certificate": "cert-manager.io/v1", "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
}  # fmt: skip


def quantity(value: Any) -> Decimal | None:
    """The amount; None: not one that Kubernetes takes."""
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _FACTORS[match[2]] if match else None


def kinds_and_versions(objects: list[Object]) -> Findings:
    """Only kinds that we mean to make, at the version that servers have; no secrets."""
    for one in objects:
        expected = VERSIONS.get(one["kind"])
        if expected is None:
            yield Finding(name_of(one), "kind", "is not made by these charts; secrets come from outside")
        elif one["apiVersion"] != expected:
            yield Finding(name_of(one), "apiVersion", f"{one['apiVersion']} is gone or unknown; use {expected}")


def names_and_labels(objects: list[Object]) -> Findings:
    """Names and labels that Kubernetes takes; the namespace of the release; nothing twice."""
    for one in objects:
        metadata = one["metadata"]
        pattern = _SHORT_NAME if one["kind"] in ("Service", "Pod", "Job") else _NAME
        if not pattern.fullmatch(metadata["name"]):
            yield Finding(name_of(one), "metadata.name", "no DNS name of at most 63 characters")
        if metadata.get("namespace") != NAMESPACE:
            yield Finding(name_of(one), "metadata.namespace", "not that of the release")
        for at, labels in _all_labels(one):
            for key, value in labels.items():
                if not isinstance(value, str) or not _LABEL.fullmatch(value):
                    yield Finding(name_of(one), f"{at}[{key}]", f"{value!r} is no label of at most 63 characters")
    for pair, count in Counter((one["kind"], one["metadata"]["name"]) for one in objects).items():
        if count > 1:
            yield Finding("/".join(pair), "metadata.name", "there are two of them")


def _all_labels(one: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "metadata.labels", one["metadata"].get("labels") or {}
    if one["kind"] in (*SERVERS, "Job"):
        yield "spec.template.metadata.labels", one["spec"]["template"]["metadata"].get("labels") or {}


def workloads(objects: list[Object]) -> Findings:
    """A selector that fits its own pods; a rollout that takes nothing away before there is something new."""
    for one in of_kind(objects, *SERVERS):
        spec, where = one["spec"], name_of(one)
        labels = spec["template"]["metadata"].get("labels") or {}
        for key, value in spec["selector"]["matchLabels"].items():
            if labels.get(key) != value:
                yield Finding(where, f"spec.selector.matchLabels[{key}]", "the template's labels are others")
        if one["kind"] == "Deployment":
            strategy = spec["strategy"]
            rolling = strategy.get("rollingUpdate", {})
            if strategy["type"] == "RollingUpdate":
                if rolling.get("maxUnavailable") != 0:
                    yield Finding(where, "spec.strategy.rollingUpdate.maxUnavailable", "not 0: calls have fewer pods")
                if rolling.get("maxSurge") in (0, "0%", None):
                    yield Finding(where, "spec.strategy.rollingUpdate.maxSurge", "0: the rollout never begins")
    for one in of_kind(objects, "PodDisruptionBudget"):
        spec = one["spec"]
        if ("minAvailable" in spec) == ("maxUnavailable" in spec):
            yield Finding(name_of(one), "spec", "exactly one of minAvailable and maxUnavailable is needed")
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        if one["spec"]["minReplicas"] > one["spec"]["maxReplicas"]:
            yield Finding(name_of(one), "spec.maxReplicas", "below minReplicas")


def resources(objects: list[Object]) -> Findings:
    """Each container requests CPU and memory and is limited in memory, in quantities, none above its limit."""
    for pod in pods_of(objects):
        for at, container in pod.containers():
            given = container.get("resources") or {}
            requests, limits = given.get("requests") or {}, given.get("limits") or {}
            for kind, amounts in (("requests", requests), ("limits", limits)):
                for name, value in amounts.items():
                    if quantity(value) is None:
                        yield Finding(pod.where, f"{at}.resources.{kind}.{name}", f"{value!r} is no quantity")
            for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                if name not in (given.get(kind) or {}):
                    yield Finding(pod.where, f"{at}.resources.{kind}.{name}", "missing")
            for name in requests.keys() & limits.keys():
                least, most = quantity(requests[name]), quantity(limits[name])
                if least is not None and most is not None and least > most:
                    yield Finding(pod.where, f"{at}.resources.requests.{name}", "above the limit")
        for volume in pod.spec.get("volumes") or []:
            size = (volume.get("emptyDir") or {}).get("sizeLimit", "1Mi")
            if quantity(size) is None:
                yield Finding(pod.where, f"{pod.at}.spec.volumes[{volume['name']}]", f"{size!r} is no quantity")


def security(objects: list[Object]) -> Findings:
    """Pod Security "restricted", a read-only root, no token, no variables of Kubernetes' among the settings."""
    for pod in pods_of(objects):
        at = f"{pod.at}.spec".lstrip(".")
        context = pod.spec.get("securityContext") or {}
        wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        for name, value in wanted.items():
            if context.get(name) != value:
                yield Finding(pod.where, f"{at}.securityContext.{name}", f"not {value}")
        if not context.get("runAsUser"):
            yield Finding(pod.where, f"{at}.securityContext.runAsUser", "root, or nobody in particular")
        for name in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.spec.get(name) is not False:
                yield Finding(pod.where, f"{at}.{name}", "not false")
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(name):
                yield Finding(pod.where, f"{at}.{name}", "the host's")
        for place, container in pod.containers():
            own = container.get("securityContext") or {}
            if own.get("allowPrivilegeEscalation") is not False:
                yield Finding(pod.where, f"{place}.securityContext.allowPrivilegeEscalation", "not false")
            if own.get("readOnlyRootFilesystem") is not True:
                yield Finding(pod.where, f"{place}.securityContext.readOnlyRootFilesystem", "not true")
            if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
                yield Finding(pod.where, f"{place}.securityContext.capabilities", "not all are dropped")
            if own.get("privileged") or own.get("runAsUser") == 0:
                yield Finding(pod.where, f"{place}.securityContext", "privileged or root")


def containers(objects: list[Object]) -> Findings:
    """A version of an image; each variable, port and mount once; declared volumes; no secret in plain sight."""
    for pod in pods_of(objects):
        volumes = [volume["name"] for volume in pod.spec.get("volumes") or []]
        claims = [claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates") or []]
        for name, count in Counter(volumes + claims).items():
            if count > 1:
                yield Finding(pod.where, f"{pod.at}.spec.volumes[{name}]", "declared twice")
        ports: Counter[Any] = Counter()
        for at, container in pod.containers():
            yield from _container(pod, at, container, {*volumes, *claims})
            for port in container.get("ports") or []:
                ports.update([port["containerPort"], port["name"]])
                if not _PORT_NAME.fullmatch(port["name"]):
                    yield Finding(pod.where, f"{at}.ports[{port['name']}]", "no name of at most 15 characters")
        for key, count in ports.items():
            if count > 1:
                yield Finding(pod.where, f"{pod.at}.spec.containers.ports[{key}]", "declared twice")


def _container(pod: Pod, at: str, container: Object, volumes: set[str]) -> Findings:
    image = container["image"]
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        yield Finding(pod.where, f"{at}.image", f"{image} is no particular version")
    names = [variable["name"] for variable in container.get("env") or []]
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding(pod.where, f"{at}.env[{name}]", "set twice")
    for variable in container.get("env") or []:
        name = variable["name"]
        if "value" in variable and not isinstance(variable["value"], str):
            yield Finding(pod.where, f"{at}.env[{name}]", f"{variable['value']!r} is no string")
        is_file = str(variable.get("value", "")).startswith("/")
        if _SECRET_NAMES.search(name) and name not in _HARMLESS and "value" in variable and not is_file:
            yield Finding(pod.where, f"{at}.env[{name}]", "a secret in plain sight")
    mounts = container.get("volumeMounts") or []
    for path, count in Counter(mount["mountPath"] for mount in mounts).items():
        if count > 1:
            yield Finding(pod.where, f"{at}.volumeMounts[{path}]", "mounted twice")
    for mount in mounts:
        if mount["name"] not in volumes:
            yield Finding(pod.where, f"{at}.volumeMounts[{mount['name']}]", "no such volume")
        if mount["name"] == "tls" and "subPath" in mount:
            yield Finding(pod.where, f"{at}.volumeMounts[tls]", "a subPath never sees a renewed certificate")


def lifecycle(objects: list[Object]) -> Findings:
    """Three probes with one handler each; time to say goodbye that fits into the time there is."""
    for pod in servers_of(objects):
        at, container = next(found for found in pod.containers() if found[1]["name"] == pod.labels[_NAME_LABEL])
        settings = {one["name"]: one.get("value") for one in container.get("env") or []}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind)
            if probe is None:
                yield Finding(pod.where, f"{at}.{kind}", "missing")
                continue
            if len(_HANDLERS & probe.keys()) != 1:
                yield Finding(pod.where, f"{at}.{kind}", "exactly one handler is needed")
            if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                yield Finding(pod.where, f"{at}.{kind}.successThreshold", "not 1")
            if kind == "livenessProbe" and probe.get("httpGet", {}).get("path", "/health/live") != "/health/live":
                yield Finding(pod.where, f"{at}.{kind}.httpGet.path", "depends on more than the process")
            scheme = probe.get("httpGet", {}).get("scheme", "HTTP")
            if "httpGet" in probe and (scheme == "HTTPS") != ("ASAHI_PUBLIC_TLS_CERTIFICATE" in settings):
                yield Finding(pod.where, f"{at}.{kind}.httpGet.scheme", f"{scheme} is not what is spoken there")
        hook = (container.get("lifecycle") or {}).get("preStop") or {}
        if len(_HANDLERS & hook.keys()) != 1:
            yield Finding(pod.where, f"{at}.lifecycle.preStop", "exactly one handler is needed")
        before = (hook.get("sleep") or {}).get("seconds", 0)
        whole = pod.spec.get("terminationGracePeriodSeconds", 30)
        drain = float(settings.get("ASAHI_SHUTDOWN_GRACE_SECONDS") or 0)
        if before >= whole:
            yield Finding(pod.where, f"{at}.lifecycle.preStop.sleep.seconds", "takes all of the grace period")
        elif before + drain >= whole:
            yield Finding(pod.where, f"{pod.at}.spec.terminationGracePeriodSeconds", f"below {before} + {drain:g} s")
        longest = float(settings.get("ASAHI_REQUEST_TIMEOUT_SECONDS") or 0)
        if drain < longest:
            yield Finding(pod.where, f"{at}.env[ASAHI_SHUTDOWN_GRACE_SECONDS]", f"cuts requests of {longest:g} s")


_NAME_LABEL = "app.kubernetes.io/name"
RULES_WITHIN = (kinds_and_versions, names_and_labels, workloads, resources, security, containers, lifecycle)
