"""The value sets that are rendered: both profiles, each service alone, every switch on and off."""

from dataclasses import dataclass, field
from typing import Any

SERVICES = ("edge", "auth", "cache", "router", "billing")
_PEER = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
_GATEWAY = {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["asahi.example.com"]}
_EMBEDDED = {"replicas": 1, "database": {"embedded": True}}
_MONITORED = {"serviceMonitor": {"enabled": True, "labels": {"team": "x"}}, "alerts": {"enabled": True}}


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A chart with values."""

    name: str
    chart: str
    values: dict[str, Any] = field(default_factory=dict)
    profile: str = ""


def _every(values: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(SERVICES, values)


VALUE_SETS = (
    *(ValueSet(f"{service} alone", service, {"installation": "asahi"}) for service in SERVICES),
    ValueSet("defaults", "asahi"),
    ValueSet("laptop", "asahi", profile="laptop"),
    ValueSet("production", "asahi", profile="production"),
    ValueSet(
        "production without a persistent spool", "asahi", {"edge": {"spool": {"persistent": False}}}, "production"
    ),
    ValueSet(
        "laptop without volumes",
        "asahi",
        _every({})
        | {name: {"database": {"persistence": {"enabled": False}}} for name in ("auth", "cache", "router", "billing")},
        "laptop",
    ),
    ValueSet(
        "laptop on a given volume",
        "auth",
        _EMBEDDED
        | {
            "auditKey": {"existingSecret": ""},
            "database": {"embedded": True, "persistence": {"existingClaim": "auth-disk"}},
        },
    ),
    ValueSet("router embedded", "router", _EMBEDDED),
    ValueSet("cache embedded", "cache", _EMBEDDED),
    ValueSet(
        "cache over several replicas",
        "cache",
        {
            "replicas": 3,
            "redis": {"existingSecret": "asahi-redis", "peers": _PEER, "ports": [6380, 26380]},
            "evidenceSharedBy": ["org_a", "org_b"],
        },
    ),
    ValueSet("billing embedded", "billing", _EMBEDDED),
    ValueSet(
        "cert-manager",
        "asahi",
        _every(
            {
                "identity": {
                    "certificates": {
                        "existingSecret": "",
                        "certManager": {"enabled": True, "issuer": {"name": "services"}},
                    }
                }
            }
        ),
    ),
    ValueSet(
        "tokens", "asahi", _every({"identity": {"mode": "token", "token": {"existingSecret": "asahi-service-tokens"}}})
    ),
    ValueSet(
        "without NetworkPolicies", "asahi", _every({"networkPolicy": {"enabled": False}}) | {"denyByDefault": False}
    ),
    ValueSet(
        "narrow networks",
        "asahi",
        {
            "edge": {
                "networkPolicy": {"clients": _PEER, "extraIngress": [{"from": _PEER}]},
                "redis": {"existingSecret": "asahi-redis", "peers": _PEER, "ports": [6380]},
            },
            "auth": {"database": {"peers": _PEER, "port": 6432}, "networkPolicy": {"metricsFrom": []}},
            "billing": {"database": {"peers": _PEER}, "networkPolicy": {"extraEgress": [{"to": _PEER}]}},
            "router": {"providers": {"peers": [], "ports": [443, 8443]}},
        },
    ),
    ValueSet(
        "Ingress",
        "edge",
        {
            "ingress": {
                "enabled": True,
                "host": "asahi.example.com",
                "className": "nginx",
                "tlsSecret": "asahi-public-tls",
            }
        },
    ),
    ValueSet(
        "Ingress of another kind",
        "edge",
        {"ingress": {"enabled": True, "controller": "none", "host": "asahi.example.com", "annotations": {"a/b": "c"}}},
    ),
    ValueSet(
        "the edge's own certificate",
        "edge",
        {
            "tls": {"existingSecret": "asahi-public-tls"},
            "service": {"type": "LoadBalancer", "httpPort": 443},
            "ingress": {"enabled": True, "host": "asahi.example.com", "tlsSecret": "asahi-public-tls"},
        },
    ),
    ValueSet("HTTPRoute and GRPCRoute", "edge", {"gateway": {"httpRoute": True, "grpcRoute": True, **_GATEWAY}}),
    ValueSet("HTTPRoute alone", "edge", {"gateway": {"httpRoute": True, **_GATEWAY}, "requestTimeoutSeconds": 120}),
    ValueSet("LoadBalancer", "edge", {"service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}}}),
    ValueSet(
        "edge to services elsewhere",
        "edge",
        {"targets": {name: f"dns:///{name}.other.svc:5005{number}" for number, name in enumerate(SERVICES[1:], 1)}},
    ),
    ValueSet(
        "edge with all secrets",
        "edge",
        {
            "adminSecret": {"existingSecret": "asahi-edge-admin"},
            "redis": {"existingSecret": "asahi-redis"},
            "test": {"existingSecret": "asahi-test"},
            "trustedProxies": ["10.0.0.0/8", "192.168.0.0/16"],
        },
    ),
    ValueSet(
        "questions in Qdrant",
        "cache",
        {"qdrant": {"existingSecret": "asahi-qdrant", "apiKeyKey": "api-key", "peers": _PEER, "port": 6380}},
    ),
    ValueSet(
        "persistent spool, autoscaled",
        "edge",
        {"spool": {"persistent": True, "storageClass": "fast"}, "autoscaling": {"enabled": True}},
    ),
    ValueSet("persistent spool, fixed", "edge", {"spool": {"persistent": True, "sync": "always"}, "replicas": 4}),
    ValueSet(
        "autoscaled",
        "asahi",
        {name: {"autoscaling": {"enabled": True, "maxReplicas": 6}} for name in SERVICES if name != "cache"},
    ),
    ValueSet("one replica each", "asahi", {name: {"replicas": 1} for name in SERVICES}),
    ValueSet(
        "without PDB and spreading",
        "asahi",
        _every({"podDisruptionBudget": {"enabled": False}, "topologySpread": {"enabled": False}}),
    ),
    ValueSet("monitored", "asahi", _every({"monitoring": _MONITORED}) | {"dashboards": {"enabled": True}}),
    ValueSet(
        "traced",
        "asahi",
        _every({"tracing": {"endpoint": "http://collector.observability:4317", "ratio": 0.1, "peers": _PEER}}),
    ),
    ValueSet(
        "OIDC",
        "auth",
        {
            "signup": "invite",
            "oidc": {"issuer": "https://login.example.com", "scopes": {"finance": "analytics", "it": "admin"}},
        },
    ),
    ValueSet(
        "own providers and models",
        "router",
        {
            "providers": {
                "existingSecret": "",
                "more": [
                    {
                        "id": "own",
                        "protocol": "openai",
                        "base_url": "http://10.0.0.7:8000/v1",
                        "api_key_env": "LOCAL_KEY",
                        "models": {"llama-4": "meta-llama/Llama-4"},
                    }
                ],
            },
            "models": {"models": [{"id": "llama-4", "quality": 3.9}]},
            "baselineModel": "gpt-6.1-sol",
            "extraEnv": [
                {"name": "LOCAL_KEY", "valueFrom": {"secretKeyRef": {"name": "asahi-providers", "key": "openai"}}}
            ],
        },
    ),
    ValueSet("simulated", "router", {"providers": {"existingSecret": "", "simulatorUrl": "http://simulator:9000"}}),
    ValueSet(
        "digests and a registry",
        "asahi",
        {
            "global": {"image": {"registry": "registry.example.com:5000", "tag": "0.1.1"}},
            "edge": {"image": {"digest": "sha256:" + "ab" * 32}},
            "auth": {"image": {"registry": "other.example.com", "tag": "0.1.2", "pullPolicy": "Always"}},
        },
    ),
    ValueSet(
        "everything extra",
        "auth",
        {
            "labels": {"team": "platform"},
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "d"},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "x", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "imagePullSecrets": [{"name": "asahi-registry"}],
            "extraEnv": [{"name": "PGSSLROOTCERT", "value": "/etc/ca/ca.crt"}],
            "extraEnvFrom": [{"secretRef": {"name": "asahi-more", "optional": True}}],
            "extraVolumes": [{"name": "ca", "secret": {"secretName": "asahi-database-ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
            "sidecars": [
                _CONTAINER := {
                    "name": "beside",
                    "image": "busybox:1.37",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            "initContainers": [_CONTAINER | {"name": "before"}],
        },
    ),
    ValueSet("given ServiceAccounts", "billing", {"serviceAccount": {"create": False, "name": "default"}}),
    ValueSet(
        "other names",
        "asahi",
        {
            "cache": {"fullnameOverride": "llm-cache"},
            "edge": {"targets": {"cache": "dns:///llm-cache.asahi.svc:50052"}},
            "router": {"targets": {"cache": "dns:///llm-cache.asahi.svc:50052"}},
        },
    ),
    ValueSet("only some services", "asahi", {"billing": {"enabled": False}, "router": {"enabled": False}}),
)
