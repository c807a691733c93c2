"""What keeps pods as objects want them: Deployments, StatefulSets and Jobs, each brought a step nearer when asked."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from tests.k8s.cluster.pods import Pod
from tests.k8s.objects import name_of
from tests.k8s.rendering import Object


class MakesPods(Protocol):
    """Starts a pod."""

    def __call__(self, name: str, template: Object, digest: str, claims: tuple[str, ...] = ()) -> Pod: ...


@dataclass(slots=True)
class Workload:
    """An object that makes pods, and those that it has made."""

    wanted: Object
    make: MakesPods
    pods: list[Pod] = field(default_factory=list)
    _least_ready_s: dict[str, int] = field(default_factory=dict)
    """`minReadySeconds` as it was when pods were made from a template, for pods of an older one keep theirs."""
    _numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    @property
    def name(self) -> str:
        """Its object's name."""
        name: str = self.wanted["metadata"]["name"]
        return name

    @property
    def replicas(self) -> int:
        """How many pods there are to be."""
        return int(self.wanted["spec"].get("replicas", 1))

    @property
    def digest(self) -> str:
        """Of the template that pods are made from."""
        return digest_of(self.wanted)

    def step(self) -> None:
        """Brings pods nearer to what is wanted."""
        self.pods = [pod for pod in self.pods if not pod.gone.is_set() or pod.outcome is not None]
        {"Deployment": self._deploy, "StatefulSet": self._keep_set, "Job": self._work}[self.wanted["kind"]]()

    def settled(self) -> bool:
        """Whether every pod is of the newest template and has been ready for long enough, and no other is left."""
        new = [pod for pod in self.pods if pod.template == self.digest]
        return len(self.pods) == len(new) == self.replicas and all(self.available(pod) for pod in new)

    def available(self, pod: Pod) -> bool:
        """Whether it has been ready for `minReadySeconds`."""
        least = self._least_ready_s.get(pod.template, 0)
        return pod.ready and pod.ready_since is not None and time.monotonic() - pod.ready_since >= least

    def succeeded(self) -> bool:
        """Of a Job: whether a pod has done its work."""
        return any(pod.outcome == 0 for pod in self.pods)

    def failed(self) -> bool:
        """Of a Job: whether it is tried no more."""
        return not self.succeeded() and len(self._ended()) > self.wanted["spec"].get("backoffLimit", 6)

    def _ended(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.outcome is not None]

    def _deploy(self) -> None:
        here = [pod for pod in self.pods if not pod.terminating]
        new = [pod for pod in here if pod.template == self.digest]
        old = [pod for pod in here if pod.template != self.digest]
        surge = self.wanted["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        for _ in range(min(self.replicas - len(new), self.replicas + surge - len(here))):
            self._add(f"{self.name}-{self.digest[:6]}-{self._numbers()}")
        for pod in sorted(new, key=self._last_to_leave)[: max(len(new) - self.replicas, 0)]:
            pod.end()
        # maxUnavailable is 0: an old pod leaves when as many as wanted are available without it.
        spare = sum(self.available(pod) for pod in here) - self.replicas
        for pod in sorted(old, key=self._last_to_leave):
            if not self.available(pod):
                pod.end()
            elif spare > 0:
                pod.end()
                spare -= 1

    def _last_to_leave(self, pod: Pod) -> tuple[bool, float]:
        return self.available(pod), -pod.created

    def _keep_set(self) -> None:
        """Pods have numbers; the highest that is not of the newest template leaves first, when all others are ready."""
        by_name = {pod.name: pod for pod in self.pods}
        claims = tuple(claim["metadata"]["name"] for claim in self.wanted["spec"].get("volumeClaimTemplates", []))
        names = [f"{self.name}-{number}" for number in range(self.replicas)]
        missing = [name for name in names if name not in by_name]
        for name in missing:
            self._add(name, claims)
        for pod in self.pods:
            if pod.name not in names and not pod.terminating:
                pod.end()
        outdated = [by_name[name] for name in names if name in by_name and by_name[name].template != self.digest]
        steady = all(self.available(pod) for name, pod in by_name.items() if name in names and pod not in outdated)
        if outdated and steady and not missing and not any(pod.terminating for pod in self.pods):
            outdated[-1].end()

    def _work(self) -> None:
        running = [pod for pod in self.pods if pod.outcome is None]
        if not running and not self.succeeded() and not self.failed():
            self._add(f"{self.name}-{self._numbers()}")

    def _add(self, name: str, claims: tuple[str, ...] = ()) -> None:
        self._least_ready_s[self.digest] = self.wanted["spec"].get("minReadySeconds", 0)
        self.pods.append(self.make(name, self.wanted["spec"]["template"], self.digest, claims))


def digest_of(one: Object) -> str:
    """Of an object's template."""
    template = json.dumps(one["spec"]["template"], sort_keys=True)
    return hashlib.sha256(f"{name_of(one)} {template}".encode()).hexdigest()
