"""The objects of a cluster: kept, versioned, watched. Writes are looked at by Kubernetes' schemas first."""

import asyncio
import base64
import copy
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.k8s.objects import selects
from tests.k8s.operated.kinds import Kind
from tests.k8s.rendering import Object
from tests.k8s.schemas import CUSTOM, schema_findings

_VERSION = "1.37.0"
Key = tuple[Kind, str, str]


class Refused(Exception):
    """A request is refused; status and reason as Kubernetes has them."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(slots=True)
class Objects:
    """All objects. `changed` is set with every write that is none of the status."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _kept: dict[Key, Object] = field(default_factory=dict)
    _version: int = 1
    _watches: list[tuple[Kind, "asyncio.Queue[tuple[str, Object]]"]] = field(default_factory=list)

    @property
    def version(self) -> str:
        """Of the newest write."""
        return str(self._version)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """An object; raises Refused where there is none."""
        found = self._kept.get((kind, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found')
        return found

    def list(self, kind: Kind, namespace: str, labels: str, fields: str) -> list[Object]:
        """Objects of a kind, in a namespace or in all (""), that selectors select."""
        return [
            one
            for (of, within, _), one in sorted(self._kept.items(), key=lambda item: item[0][1:])
            if of == kind and namespace in ("", within) and chosen(one, labels, fields)
        ]

    def create(self, kind: Kind, namespace: str, one: Object) -> Object:
        """Keeps a new object; raises Refused where there is one of its name, no namespace, or its fields are wrong."""
        name = one["metadata"]["name"]
        if (kind, namespace, name) in self._kept:
            raise Refused(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        if namespace and not any(of.kind == "Namespace" and found == namespace for of, _, found in self._kept):
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        one = copy.deepcopy(one)
        one["metadata"] |= {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": 1,
            **({"namespace": namespace} if namespace else {}),
        }
        return self._keep(kind, namespace, one, "ADDED")

    def put(self, kind: Kind, namespace: str, one: Object) -> Object:
        """Keeps an object in the place of the one of its name."""
        before = self.get(kind, namespace, one["metadata"]["name"])
        one = copy.deepcopy(one)
        own = {name: before["metadata"][name] for name in ("uid", "creationTimestamp", "generation")}
        if before.get("spec") != one.get("spec"):
            own["generation"] += 1
        one["metadata"] |= own | ({"namespace": namespace} if namespace else {})
        if "status" not in one and "status" in before:
            one["status"] = before["status"]
        return self._keep(kind, namespace, one, "MODIFIED")

    def patch(self, kind: Kind, namespace: str, name: str, part: Object) -> Object:
        """Lays a part over an object: maps into maps, null takes away, everything else replaces."""
        return self.put(kind, namespace, laid_over(self.get(kind, namespace, name), part))

    def apply(self, kind: Kind, namespace: str, one: Object) -> Object:
        """Server-side apply by one owner: what it says holds; labels and annotations of others stay."""
        name = one["metadata"]["name"]
        if (kind, namespace, name) not in self._kept:
            return self.create(kind, namespace, one)
        before = self.get(kind, namespace, name)["metadata"]
        for key in ("labels", "annotations"):
            one["metadata"][key] = {**(before.get(key) or {}), **(one["metadata"].get(key) or {})}
        return self.put(kind, namespace, one)

    def set_status(self, kind: Kind, namespace: str, name: str, status: Object) -> None:
        """Says how an object is; nothing if it is gone or was so already."""
        found = self._kept.get((kind, namespace, name))
        if found is not None and found.get("status") != status:
            self._publish(kind, {**found, "status": status}, "MODIFIED", namespace)

    def delete(self, kind: Kind, namespace: str, name: str) -> Object:
        """Forgets an object, with a namespace all that is in it; raises Refused where there is none."""
        one = self.get(kind, namespace, name)
        if kind.kind == "Namespace":
            for of, _, inside in [key for key in self._kept if key[1] == name]:
                self.delete(of, name, inside)
        del self._kept[kind, namespace, name]
        self._version += 1
        self._tell(kind, "DELETED", one)
        self.changed.set()
        return one

    def watch(self, kind: Kind) -> "asyncio.Queue[tuple[str, Object]]":
        """A queue of what happens to objects of a kind from now on."""
        queue: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()
        self._watches.append((kind, queue))
        return queue

    def unwatch(self, queue: "asyncio.Queue[tuple[str, Object]]") -> None:
        """Ends a watch."""
        self._watches = [one for one in self._watches if one[1] is not queue]

    def _keep(self, kind: Kind, namespace: str, one: Object, event: str) -> Object:
        one |= {"apiVersion": kind.api_version, "kind": kind.kind}
        _fill_in(one)
        if kind.kind == "Secret":
            for key, value in (one.pop("stringData", None) or {}).items():
                one.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        _look_at_fields(one)
        kept = self._publish(kind, one, event, namespace)
        self.changed.set()
        return kept

    def _publish(self, kind: Kind, one: Object, event: str, namespace: str) -> Object:
        self._version += 1
        one = {**one, "metadata": {**one["metadata"], "resourceVersion": str(self._version)}}
        self._kept[kind, namespace, one["metadata"]["name"]] = one
        self._tell(kind, event, one)
        return one

    def _tell(self, kind: Kind, event: str, one: Object) -> None:
        for of, queue in self._watches:
            if of == kind:
                queue.put_nowait((event, one))


def _look_at_fields(one: Object) -> None:
    """Raises Refused at a field that Kubernetes does not know or that is of another type."""
    if one["kind"] in ("Namespace", "PodMetrics"):
        return
    bare = {name: value for name, value in one.items() if name != "status"}
    if one["kind"] in CUSTOM:
        bare = {**bare, "metadata": {k: v for k, v in bare["metadata"].items() if k in ("name", "namespace", "labels")}}
    found = list(schema_findings(bare, _VERSION))
    if found:
        raise Refused(400, "BadRequest", "; ".join(map(str, found)))


def _fill_in(inside: Any) -> None:
    """Defaults of a server without which kubectl does not get along."""
    if isinstance(inside, list):
        for one in inside:
            _fill_in(one)
    elif isinstance(inside, dict):
        if isinstance(inside.get("httpGet"), dict):
            inside["httpGet"].setdefault("scheme", "HTTP")
        if isinstance(inside.get("grpc"), dict):
            inside["grpc"].setdefault("service", "")
        for one in inside.values():
            _fill_in(one)


def laid_over(under: Any, over: Any) -> Any:
    """RFC 7386."""
    if not isinstance(over, dict) or not isinstance(under, dict):
        return over
    kept = {key: value for key, value in under.items() if over.get(key, ...) is not None}
    return kept | {key: laid_over(kept.get(key, {}), value) for key, value in over.items() if value is not None}


def chosen(one: Object, labels: str, fields: str) -> bool:
    """Whether selectors, as a query has them, select an object."""
    own = one["metadata"].get("labels") or {}
    return all(_selects_label(own, term) for term in _terms(labels)) and all(
        _field(one, *term.replace("==", "=").split("=", 1)) for term in _terms(fields)
    )


def _terms(selector: str) -> Iterable[str]:
    return filter(None, selector.split(","))


def _selects_label(own: dict[str, str], term: str) -> bool:
    if "!=" in term:
        name, value = term.split("!=")
        return own.get(name) != value
    if "=" in term:
        name, value = term.replace("==", "=").split("=", 1)
        return selects({"matchLabels": {name: value}}, own)
    return term not in own if (negated := term.startswith("!")) and (term := term[1:]) else term in own or negated


def _field(one: Object, path: str, value: str) -> bool:
    found: Any = one
    for step in path.split("."):
        found = found.get(step, "") if isinstance(found, dict) else ""
    return bool(found == value)
