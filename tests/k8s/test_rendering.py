"""What helm makes of every value set: the same by 3 and 4, valid for every version of Kubernetes, and by our rules."""

from collections.abc import Iterator

import pytest

from deploy.k8s.generate import SERVICES, derived
from tests.k8s.objects import Finding
from tests.k8s.rendering import Charts, Object
from tests.k8s.rules_between import RULES_BETWEEN
from tests.k8s.rules_within import RULES_WITHIN
from tests.k8s.schemas import VERSIONS, schema_findings
from tests.k8s.value_sets import VALUE_SETS, ValueSet

_EACH = pytest.mark.parametrize("value_set", VALUE_SETS, ids=lambda one: one.name)


def findings(objects: list[Object]) -> Iterator[Finding]:
    """What the rules find."""
    for rule in (*RULES_WITHIN, *RULES_BETWEEN):
        yield from rule(objects)


@_EACH
def test_both_helms_make_the_same_valid_objects_which_keep_the_rules(charts: Charts, value_set: ValueSet) -> None:
    text = charts.text(value_set.chart, value_set.values, profile=value_set.profile)
    assert text == charts.text(value_set.chart, value_set.values, profile=value_set.profile), "two renders differ"
    objects = charts.objects(value_set.chart, value_set.values, profile=value_set.profile)
    older = charts.objects(value_set.chart, value_set.values, profile=value_set.profile, version=3)
    assert _sorted(objects) == _sorted(older)
    faults = [fault for version in VERSIONS for one in objects for fault in schema_findings(one, version)]
    assert not faults, "\n".join(map(str, faults))
    broken = list(findings(objects))
    assert not broken, "\n".join(map(str, broken))


def _sorted(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))


def test_there_are_enough_value_sets_and_versions() -> None:
    assert len(VALUE_SETS) >= 30
    assert len({one.name for one in VALUE_SETS}) == len(VALUE_SETS)
    assert len(VERSIONS) == 8


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("chart", [*SERVICES, "asahi", "library"])
def test_helm_has_nothing_against_a_chart(charts: Charts, chart: str, version: int) -> None:
    if chart == "library":
        chart = "edge/charts/library"
    done = charts.helm("lint", "--strict", "--quiet", str(charts.folder / chart), version=version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_what_is_derived_is_up_to_date() -> None:
    stale = [path for path, text in derived() if not path.exists() or path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make charts`"
