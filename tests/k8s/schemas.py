"""Schemas of the kinds: Kubernetes' own by version (from kubernetes-validate), and of the fields of custom resources
that these charts use."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource

from tests.k8s.objects import Finding, name_of
from tests.k8s.rendering import Object

VERSIONS = tuple(f"1.{minor}.0" for minor in range(30, 38))
_TEXT, _TEXTS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}


def _closed(required: str = "", **properties: Any) -> Object:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list(items: Any) -> Object:
    return {"type": "array", "items": items, "minItems": 1}


_PARENT = _closed("name", name=_TEXT, namespace=_TEXT, sectionName=_TEXT, port=_PORT, group=_TEXT, kind=_TEXT)
_BACKEND = _closed("name port", name=_TEXT, port=_PORT, weight={"type": "integer"})
_PATH = _closed("type value", type={"enum": ["PathPrefix", "Exact"]}, value=_TEXT)
CUSTOM: dict[str, Object] = {
    "ServiceMonitor": _closed(
        "selector endpoints",
        jobLabel=_TEXT,
        selector=_closed("matchLabels", matchLabels=_TEXTS),
        endpoints=_list(_closed("port interval", port=_TEXT, interval=_DURATION)),
    ),
    "PrometheusRule": _closed(
        "groups",
        groups=_list(
            _closed(
                "name rules",
                name=_TEXT,
                rules=_list(
                    _closed("alert expr for labels annotations", alert=_TEXT, expr=_TEXT, labels=_TEXTS,
                            annotations=_TEXTS, **{"for": _DURATION})
                ),
            )
        ),
    ),
    "Certificate": _closed(
        "secretName dnsNames issuerRef",
        secretName=_TEXT,
        dnsNames=_list(_TEXT),
        usages=_list({"enum": ["digital signature", "server auth", "client auth"]}),
        privateKey=_closed(algorithm={"enum": ["ECDSA"]}, size={"enum": [256]}, rotationPolicy={"enum": ["Always"]}),
        duration=_DURATION,
        renewBefore=_DURATION,
        issuerRef=_closed("name", name=_TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, group=_TEXT),
    ),
    "HTTPRoute": _closed(
        "parentRefs rules",
        parentRefs=_list(_PARENT),
        hostnames=_list(_TEXT),
        rules=_list(_closed("backendRefs", matches=_list(_closed(path=_PATH)), backendRefs=_list(_BACKEND),
                            timeouts=_closed(request=_DURATION, backendRequest=_DURATION))),
    ),
    "GRPCRoute": _closed(
        "parentRefs rules",
        parentRefs=_list(_PARENT),
        hostnames=_list(_TEXT),
        rules=_list(_closed("backendRefs", backendRefs=_list(_BACKEND), matches=_list(
            _closed(method=_closed(service=_TEXT, method=_TEXT))))),
    ),
}  # fmt: skip
"""Of `spec`, closed: a field that is not here is a fault, be it one that the resource has."""


@cache
def _validator(kind: str, api_version: str, version: str) -> Validator | None:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    group = api_version.split("/", maxsplit=1)[0].split(".", maxsplit=1)[0]
    name = (
        f"{kind.lower()}-{group}-{api_version.split('/')[1]}" if "/" in api_version else f"{kind.lower()}-{api_version}"
    )
    schema = folder / f"{name}.json"
    if not schema.is_file():
        return None
    registry = _definitions(version)
    return Draft202012Validator(json.loads(schema.read_text()), registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    resource = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    return resource @ Registry()


def schema_findings(one: Object, version: str) -> list[Finding]:
    """What a version of Kubernetes, or a custom resource's schema, has against an object."""
    if one.get("kind") in CUSTOM:
        errors = Draft202012Validator(CUSTOM[one["kind"]]).iter_errors(one["spec"])
        return [Finding(name_of(one), f"spec.{_path(error)}", error.message) for error in errors]
    validator = _validator(one["kind"], one["apiVersion"], version)
    if validator is None:
        return [Finding(name_of(one), "apiVersion", f"Kubernetes {version} has no {one['apiVersion']} {one['kind']}")]
    return [Finding(name_of(one), _path(error), error.message) for error in validator.iter_errors(one)]


def _path(error: Any) -> str:
    return ".".join(str(step) for step in error.absolute_path)
