"""What rules look at: objects of a namespace, their pods and containers, and what is wrong with them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.k8s.rendering import Object

SERVERS = ("Deployment", "StatefulSet")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault: of which object, in which field, what."""

    where: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.what}"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that an object makes. `at` is where its description is in the object."""

    owner: Object
    at: str
    metadata: Object
    spec: Object

    @property
    def where(self) -> str:
        """The object that makes it."""
        return name_of(self.owner)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.metadata.get("labels") or {}

    def containers(self) -> Iterator[tuple[str, Object]]:
        """Its containers, first those before, each with its place in the object."""
        for kind in ("initContainers", "containers"):
            for number, container in enumerate(self.spec.get(kind) or []):
                yield f"{self.at}.spec.{kind}[{number}]", container

    def ports(self) -> dict[str, int]:
        """The ports that its containers listen on, by name."""
        containers = self.spec["containers"]
        return {port["name"]: port["containerPort"] for one in containers for port in one.get("ports") or []}


def name_of(one: Object) -> str:
    """As people name an object: Deployment/asahi-auth."""
    return f"{one.get('kind')}/{one.get('metadata', {}).get('name')}"


def pods_of(objects: list[Object]) -> list[Pod]:
    """Every pod that objects make."""
    found = []
    for one in objects:
        if one["kind"] == "Pod":
            found.append(Pod(one, "", one["metadata"], one["spec"]))
        elif one["kind"] in (*SERVERS, "Job", "DaemonSet"):
            template = one["spec"]["template"]
            found.append(Pod(one, "spec.template", template["metadata"], template["spec"]))
    return found


def servers_of(objects: list[Object]) -> list[Pod]:
    """The pods that serve."""
    return [pod for pod in pods_of(objects) if pod.owner["kind"] in SERVERS]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """The objects of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a selector (matchLabels, matchExpressions) selects labels; an empty one selects all."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or []:
        is_in = labels.get(rule["key"]) in (rule.get("values") or [])
        wanted = {"In": is_in, "NotIn": not is_in, "Exists": rule["key"] in labels}
        if not wanted[rule["operator"]]:
            return False
    return True
