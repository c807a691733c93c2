"""The runner's promises: it refuses what it does not know, and replaces pods as a cluster does."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.cluster.fields import KINDS_NOT_ENFORCED, UnknownField, check_fields
from tests.k8s.cluster.pods import Ground, Pod
from tests.k8s.cluster.workloads import Workload
from tests.k8s.objects import of_kind
from tests.k8s.rendering import Charts, Object


@pytest.fixture
def objects(charts: Charts) -> list[Object]:
    values = {name: {"autoscaling": {"enabled": False}} for name in ("edge", "auth", "router", "billing")}
    return charts.objects("asahi", values, profile="production")


def test_the_production_profile_is_known_to_the_runner(objects: list[Object]) -> None:
    for one in objects:
        check_fields(one)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.template.spec.hostNetwork", True),
        ("Deployment", "spec.strategy.type", "Recreate"),
        ("Deployment", "spec.template.spec.containers.0.livenessProbe.initialDelaySeconds", 5),
        ("Deployment", "spec.template.spec.containers.0.lifecycle.postStart", {"exec": {"command": ["true"]}}),
        ("StatefulSet", "spec.podManagementPolicy", "OrderedReady"),
        ("Service", "spec.sessionAffinity", "ClientIP"),
        ("PodDisruptionBudget", "spec.minAvailable", 1),
        ("Job", "spec.ttlSecondsAfterFinished", 60),
    ],
)
def test_a_field_that_the_runner_does_not_act_on_is_refused_by_its_name(
    objects: list[Object], kind: str, path: str, value: object
) -> None:
    one = copy.deepcopy(of_kind(objects, kind)[0])
    *steps, last = path.split(".")
    place: Any = one
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    with pytest.raises(UnknownField, match=f"{kind}/asahi-.*: .*{last}"):
        check_fields(one)


def test_a_kind_that_the_runner_does_not_know_is_refused() -> None:
    with pytest.raises(UnknownField, match="DaemonSet/x: the runner does not know this kind"):
        check_fields({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}, "spec": {}})
    assert "Deployment" not in KINDS_NOT_ENFORCED


def test_a_second_container_is_refused(objects: list[Object]) -> None:
    one = copy.deepcopy(of_kind(objects, "Deployment")[0])
    one["spec"]["template"]["spec"]["containers"] *= 2
    with pytest.raises(UnknownField, match="one container for each pod"):
        check_fields(one)


class _Pods:
    """Pods that are only told to begin and to end."""

    def __init__(self, folder: Path) -> None:
        self.ground = Ground("none", (), folder, lambda *_: {}, lambda: None)

    def __call__(self, name: str, template: Object, digest: str, claims: tuple[str, ...] = ()) -> Pod:
        del claims
        return Pod(self.ground, name, template["metadata"]["labels"], template["spec"], digest, "", "")


def _ready(pods: list[Pod]) -> None:
    for pod in pods:
        if not pod.terminating and pod.ready_since is None:
            pod.ready_since = pod.created - 60  # for longer than minReadySeconds


def _gone(pods: list[Pod]) -> None:
    for pod in pods:
        if pod.terminating:
            pod.gone.set()


def _workload(objects: list[Object], kind: str, folder: Path) -> Workload:
    one = copy.deepcopy(of_kind(objects, kind)[0])
    one["spec"]["replicas"] = 2
    workload = Workload(one, _Pods(folder))
    workload.step()
    _ready(workload.pods)
    workload.step()
    assert workload.settled()
    return workload


def _new_version(workload: Workload) -> set[str]:
    """Wants another template; the names of the pods that there are."""
    workload.wanted = copy.deepcopy(workload.wanted)
    workload.wanted["spec"]["template"]["metadata"].setdefault("annotations", {})["version"] = "2"
    return {pod.name for pod in workload.pods}


def _steps(workload: Workload) -> Iterator[list[Pod]]:
    for _ in range(20):
        workload.step()
        yield workload.pods


def test_a_deployment_keeps_its_replicas_available_until_new_pods_are(objects: list[Object], tmp_path: Path) -> None:
    workload = _workload(objects, "Deployment", tmp_path)
    old = _new_version(workload)
    for pods in _steps(workload):
        assert sum(workload.available(pod) for pod in pods) >= 2
        assert sum(not pod.terminating for pod in pods) <= 3
    assert not any(pod.terminating for pod in workload.pods), "no new pod is ready, and an old one leaves"
    for pods in _steps(workload):
        _ready(pods)
        _gone(pods)
    assert workload.settled()
    assert not old & {pod.name for pod in workload.pods}


def test_a_set_replaces_one_pod_at_a_time_the_highest_number_first(objects: list[Object], tmp_path: Path) -> None:
    workload = _workload(objects, "StatefulSet", tmp_path)
    _new_version(workload)
    workload.step()
    assert [pod.name for pod in workload.pods if pod.terminating] == ["asahi-edge-1"]
    for pods in _steps(workload):
        assert sum(pod.ready for pod in pods) >= 1
        _gone(pods)
    assert [pod.name for pod in workload.pods if pod.ready] == ["asahi-edge-0"], (
        "it goes on before the new one is ready"
    )
    for pods in _steps(workload):
        _ready(pods)
        _gone(pods)
    assert workload.settled()


def test_a_set_takes_a_broken_pod_back(objects: list[Object], tmp_path: Path) -> None:
    workload = _workload(objects, "StatefulSet", tmp_path)
    before = workload.wanted
    _new_version(workload)
    for pods in _steps(workload):
        _gone(pods)
    workload.wanted = before
    for pods in _steps(workload):
        _gone(pods)
        _ready([pod for pod in pods if pod.template == workload.digest])
    assert workload.settled()


def test_a_job_is_tried_again_and_then_no_more(objects: list[Object], tmp_path: Path) -> None:
    workload = Workload(copy.deepcopy(of_kind(objects, "Job")[0]), _Pods(tmp_path))
    workload.wanted["spec"]["backoffLimit"] = 2
    for pods in _steps(workload):
        for pod in pods:
            pod.outcome = 78
    assert len(workload.pods) == 3
    assert workload.failed()
