"""Rules between objects, which no schema and no server looks at. Each yields what breaks it."""

import re
from collections.abc import Iterator

from asahi_core.rpc.identity import MAY_CALL
from tests.k8s.objects import SERVERS, Finding, Pod, name_of, of_kind, pods_of, selects, servers_of
from tests.k8s.rendering import Object

Findings = Iterator[Finding]
GRPC_PORTS = {"auth": 50051, "cache": 50052, "router": 50053, "billing": 50054}
SECRETS = {
    **{f"asahi-{name}-tls": {"tls.crt", "tls.key", "ca.crt"} for name in ("edge", *GRPC_PORTS)},
    **{f"asahi-{name}-database": {"url"} for name in ("auth", "cache", "router", "billing")},
    "asahi-auth-audit": {"key"},
    "asahi-providers": {"openai", "anthropic"},
    "asahi-service-tokens": {"edge", "router", "accepted"},
    "asahi-edge-admin": {"secret"},
    "asahi-redis": {"url"},
    "asahi-qdrant": {"url", "api-key"},
    "asahi-test": {"api-key"},
    "asahi-public-tls": {"tls.crt", "tls.key"},
    "asahi-registry": {".dockerconfigjson"},
    "asahi-database-ca": {"ca.crt"},
    "asahi-more": set(),
}
"""What comes from outside: the secrets that docs/operations/install.md makes, and those of the value sets."""
_NAME, _COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
_TARGET = re.compile(r"dns:///(?P<host>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc:(?P<port>[0-9]+)")
_SERVICE_OF = re.compile(r"/asahi\.(?P<name>[a-z]+)\.")


def probes(objects: list[Object]) -> Findings:
    """Probes ask a port that the container has."""
    for pod in pods_of(objects):
        for at, container in pod.containers():
            ports = {port["name"]: port["containerPort"] for port in container.get("ports") or []}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind) or {}
                for handler in ("httpGet", "grpc", "tcpSocket"):
                    port = (probe.get(handler) or {}).get("port")
                    if port is not None and port not in ports and port not in ports.values():
                        yield Finding(pod.where, f"{at}.{kind}.{handler}.port", f"{port} is no port of the container")


def services(objects: list[Object]) -> Findings:
    """Services select pods that serve, and only those, at ports that they name; gRPC ones are headless."""
    pods = pods_of(objects)
    for one in of_kind(objects, "Service"):
        spec, where = one["spec"], name_of(one)
        selected = [pod for pod in pods if selects({"matchLabels": spec["selector"]}, pod.labels)]
        if not selected:
            yield Finding(where, "spec.selector", "selects no pod")
        for pod in selected:
            if pod.owner["kind"] not in SERVERS:
                yield Finding(where, "spec.selector", f"selects a pod of {pod.where}, which does not serve")
            for port in spec["ports"]:
                if port["targetPort"] not in pod.ports() and port["targetPort"] not in pod.ports().values():
                    yield Finding(where, f"spec.ports[{port['name']}].targetPort", f"{pod.where} has no such port")
    for pod in servers_of(objects):
        for at, container in pod.containers():
            for variable in container.get("env") or []:
                if variable["name"].endswith("_TARGET"):
                    yield from _target(objects, pod, f"{at}.env[{variable['name']}]", variable["value"])


def _target(objects: list[Object], pod: Pod, at: str, target: str) -> Findings:
    match = _TARGET.fullmatch(target)
    own = pod.owner["metadata"]
    if match is None or match["namespace"] != own["namespace"]:
        return
    called = [one for one in of_kind(objects, "Service") if one["metadata"]["name"] == match["host"]]
    name = match["host"].rpartition("-")[2]
    if not called:
        if any(found.labels.get(_NAME) == name for found in servers_of(objects)):
            yield Finding(pod.where, at, f"there is no Service {match['host']}")
        return
    if called[0]["spec"].get("clusterIP") != "None":
        yield Finding(name_of(called[0]), "spec.clusterIP", "not None: all calls of a connection go to one pod")
    if int(match["port"]) not in [port["port"] for port in called[0]["spec"]["ports"]]:
        yield Finding(pod.where, at, f"{match['host']} has no port {match['port']}")


def references(objects: list[Object]) -> Findings:
    """ConfigMaps, secrets, keys, claims and ServiceAccounts that pods name are there."""
    maps = {one["metadata"]["name"]: set(one["data"]) for one in of_kind(objects, "ConfigMap")}
    secrets = {**SECRETS}
    for one in of_kind(objects, "Certificate"):
        secrets[one["spec"]["secretName"]] = {"tls.crt", "tls.key", "ca.crt"}
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")} | {"auth-disk"}
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")} | {"default"}
    for pod in pods_of(objects):
        if pod.spec.get("serviceAccountName") not in accounts:
            yield Finding(pod.where, f"{pod.at}.spec.serviceAccountName", "there is no such ServiceAccount")
        for volume in pod.spec.get("volumes") or []:
            at = f"{pod.at}.spec.volumes[{volume['name']}]"
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield Finding(pod.where, at, "there is no such ConfigMap")
            if "secret" in volume and volume["secret"]["secretName"] not in secrets:
                yield Finding(pod.where, at, "no such secret is ever made")
            if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"]["claimName"] not in claims:
                yield Finding(pod.where, at, "there is no such claim")
        for place, container in pod.containers():
            for variable in container.get("env") or []:
                source = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if source is not None and source["key"] not in secrets.get(source["name"], ()):
                    what = f"no secret {source['name']} with a key {source['key']} is ever made"
                    yield Finding(pod.where, f"{place}.env[{variable['name']}]", what)


def scaling(objects: list[Object]) -> Findings:
    """HPAs scale what is there and has no replicas; PDBs select pods and let one go; pods spread among their own."""
    workloads = {(one["kind"], one["metadata"]["name"]): one for one in of_kind(objects, *SERVERS)}
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        scaled = workloads.get((target["kind"], target["name"]))
        if scaled is None:
            yield Finding(name_of(one), "spec.scaleTargetRef", "there is no such thing")
            continue
        if "replicas" in scaled["spec"]:
            yield Finding(name_of(scaled), "spec.replicas", "each upgrade would undo what the HPA has decided")
        names = [container["name"] for container in scaled["spec"]["template"]["spec"]["containers"]]
        for metric in one["spec"]["metrics"]:
            if metric["containerResource"]["container"] not in names:
                yield Finding(name_of(one), "spec.metrics.containerResource.container", "there is no such container")
    for workload in workloads.values():
        hpa = [one for one in of_kind(objects, "HorizontalPodAutoscaler")
               if one["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]]  # fmt: skip
        if "replicas" not in workload["spec"] and not hpa:
            yield Finding(name_of(workload), "spec.replicas", "neither replicas nor an HPA")
    for one in of_kind(objects, "PodDisruptionBudget"):
        selected = [pod for pod in servers_of(objects) if selects(one["spec"]["selector"], pod.labels)]
        if len(selected) != 1:
            yield Finding(name_of(one), "spec.selector", f"selects pods of {len(selected)} workloads")
        for pod in selected:
            replicas = pod.owner["spec"].get("replicas", 1)
            if one["spec"].get("maxUnavailable") in (0, "0%") or one["spec"].get("minAvailable", -1) >= replicas:
                yield Finding(name_of(one), "spec", "a drain waits for ever")
    for pod in servers_of(objects):
        for number, constraint in enumerate(pod.spec.get("topologySpreadConstraints") or []):
            if not selects(constraint["labelSelector"], pod.labels):
                at = f"{pod.at}.spec.topologySpreadConstraints[{number}].labelSelector"
                yield Finding(pod.where, at, "does not select the pod itself")
        name = pod.owner["spec"].get("serviceName")
        headless = [
            one["metadata"]["name"] for one in of_kind(objects, "Service") if one["spec"].get("clusterIP") == "None"
        ]
        if pod.owner["kind"] == "StatefulSet" and name not in headless:
            yield Finding(pod.where, "spec.serviceName", "there is no such headless Service")


def policies(objects: list[Object]) -> Findings:
    """Policies select pods, deny both ways what they do not name, and name ports that somebody listens on."""
    found = of_kind(objects, "NetworkPolicy")
    if not found:
        return
    pods = pods_of(objects)
    for one in found:
        selected = [pod for pod in pods if selects(one["spec"]["podSelector"], pod.labels)]
        if not selected:
            yield Finding(name_of(one), "spec.podSelector", "selects no pod")
        if set(one["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
            yield Finding(name_of(one), "spec.policyTypes", "does not deny both ways")
        for number, rule in enumerate(one["spec"].get("ingress") or []):
            for port in rule.get("ports") or []:
                for pod in selected:
                    if port["port"] not in pod.ports().values():
                        yield Finding(
                            name_of(one), f"spec.ingress[{number}].ports", f"nobody listens on {port['port']}"
                        )
    for pod in pods:
        if pod.labels.get(_COMPONENT) != "test" and not any(
            selects(one["spec"]["podSelector"], pod.labels) for one in found
        ):
            yield Finding(pod.where, "metadata.labels", "no NetworkPolicy selects its pods")


def calls(objects: list[Object]) -> Findings:
    """Who may connect to a service's gRPC, and who may try, is exactly who may call it by `MAY_CALL`."""
    if not of_kind(objects, "NetworkPolicy"):
        return
    servers = {pod.labels[_NAME]: pod for pod in servers_of(objects)}
    allowed = {
        (caller, match["name"])
        for caller, methods in MAY_CALL.items()
        for match in map(_SERVICE_OF.match, methods)
        if match is not None and caller in ("edge", *GRPC_PORTS)
    }
    for name, pod in servers.items():
        policy = next(
            (one for one in of_kind(objects, "NetworkPolicy")
             if _COMPONENT in (one["spec"]["podSelector"].get("matchLabels") or {})
             and selects(one["spec"]["podSelector"], pod.labels)), None)  # fmt: skip
        if policy is None:
            yield Finding(pod.where, "metadata.labels", "has no NetworkPolicy of its own")
            continue
        if name in GRPC_PORTS:
            comes = _named(policy, "ingress", "from", GRPC_PORTS[name])
            for caller in comes ^ {one for one, called in allowed if called == name}:
                yield Finding(name_of(policy), "spec.ingress", f"{caller} → {name} is not as MAY_CALL says")
        for called, port in GRPC_PORTS.items():
            goes = _named(policy, "egress", "to", port)
            if (goes == {called}) != ((name, called) in allowed) or goes - {called}:
                yield Finding(name_of(policy), "spec.egress", f"{name} → {called} is not as MAY_CALL says")


def _named(policy: Object, way: str, peers: str, port: int) -> set[str]:
    """The services that rules for a port name; `anybody` where a rule names no peer, or one that is no service."""
    named = set()
    for rule in policy["spec"].get(way) or []:
        if port not in [one["port"] for one in rule.get("ports") or [{"port": port}]]:
            continue
        own = rule.get(peers) or [{}]
        if rule.get("ports") is None and way == "egress":
            continue  # an operator's extra rule
        for peer in own:
            labels = (peer.get("podSelector") or {}).get("matchLabels") or {}
            is_server = labels.get(_COMPONENT) == "server" and "namespaceSelector" not in peer
            named.add(labels[_NAME] if is_server and _NAME in labels else "anybody")
    return named


def _longest_requests(objects: list[Object]) -> Iterator[float]:
    for pod in servers_of(objects):
        for _, container in pod.containers():
            for variable in container.get("env") or []:
                if variable["name"] == "ASAHI_REQUEST_TIMEOUT_SECONDS":
                    yield float(variable["value"])


def entries(objects: list[Object]) -> Findings:
    """Ingresses and routes lead to a Service's port, and cut no request that the edge would not."""
    ports = {
        one["metadata"]["name"]: {port.get(key) for port in one["spec"]["ports"] for key in ("name", "port")}
        for one in of_kind(objects, "Service")
    }
    longest = max(_longest_requests(objects), default=0)
    for one in of_kind(objects, "Ingress"):
        for rule in one["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if not {*service["port"].values()} & ports.get(service["name"], set()):
                    yield Finding(name_of(one), "spec.rules.http.paths.backend", "there is no such Service and port")
        notes = one["metadata"].get("annotations") or {}
        for key, value in notes.items():
            if key.endswith(("read-timeout", "send-timeout")) and float(value) < longest:
                yield Finding(name_of(one), f"metadata.annotations[{key}]", f"cuts requests of {longest:g} s")
            if key.endswith("proxy-buffering") and value != "off":
                yield Finding(name_of(one), f"metadata.annotations[{key}]", "holds streams back")
    for one in of_kind(objects, "HTTPRoute", "GRPCRoute"):
        for rule in one["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if backend["port"] not in ports.get(backend["name"], set()):
                    yield Finding(name_of(one), "spec.rules.backendRefs", "there is no such Service and port")
            for key, value in (rule.get("timeouts") or {}).items():
                if float(value.removesuffix("s")) < longest:
                    yield Finding(name_of(one), f"spec.rules.timeouts.{key}", f"cuts requests of {longest:g} s")
    for one in of_kind(objects, "ServiceMonitor"):
        chosen = [found for found in of_kind(objects, "Service")
                  if selects(one["spec"]["selector"], found["metadata"]["labels"])]  # fmt: skip
        for endpoint in one["spec"]["endpoints"]:
            if not any(endpoint["port"] in ports[found["metadata"]["name"]] for found in chosen):
                yield Finding(name_of(one), "spec.endpoints.port", "no selected Service has such a port")


def migrations(objects: list[Object]) -> Findings:
    """Whoever uses an external database waits for its schema, which a Job of the same image brings up."""
    jobs = {pod.spec["containers"][0]["image"]: pod for pod in pods_of(objects) if pod.owner["kind"] == "Job"}
    for pod in servers_of(objects):
        container = next(one for _, one in pod.containers() if one["name"] == pod.labels[_NAME])
        variables = {variable["name"]: variable for variable in container.get("env") or []}
        if "DATABASE_URL" not in variables:
            continue
        if variables.get("ASAHI_MIGRATE_AT_START", {}).get("value") != "false":
            yield Finding(pod.where, f"{pod.at}.spec.containers.env[ASAHI_MIGRATE_AT_START]", "not false")
        waiting = [one for one in pod.spec.get("initContainers") or [] if "--wait" in (one.get("command") or [])]
        if not waiting:
            yield Finding(pod.where, f"{pod.at}.spec.initContainers", "nobody waits for the migration")
        job = jobs.get(container["image"])
        if job is None:
            yield Finding(pod.where, f"{pod.at}.spec.containers.image", "no Job migrates for this image")
            continue
        of_job = {one["name"]: one for one in job.spec["containers"][0]["env"]}
        if of_job.get("DATABASE_URL") != variables["DATABASE_URL"]:
            yield Finding(job.where, "spec.template.spec.containers.env[DATABASE_URL]", "of another database")
        if job.spec.get("restartPolicy") != "Never":
            yield Finding(job.where, "spec.template.spec.restartPolicy", "not Never: its log is lost at each try")


RULES_BETWEEN = (probes, services, references, scaling, policies, calls, entries, migrations)
