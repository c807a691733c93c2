"""Fingerprints: equal where an answer may stand for another, else different, and the same in every process."""

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import LatencyPreference, QualityPreference, Routing, RoutingMode
from asahi_edge.domain.fingerprint import UNHASHED_FIELDS, fingerprint, quality_class

_AUTOPILOT = Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT)
_GUIDED = RoutingMode.ROUTING_MODE_GUIDED
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
_hashed_names = st.text().filter(lambda name: name not in UNHASHED_FIELDS)
_bodies = st.dictionaries(_hashed_names, _values, max_size=5)


def _of(body: dict[str, Any], *, organization: str = "org-1", routing: Routing = _AUTOPILOT) -> bytes:
    return fingerprint(organization, Api.API_OPENAI_CHAT_COMPLETIONS, routing, body)


@given(_bodies, _bodies)
def test_bodies_that_differ_in_anything_hashed_have_different_fingerprints_and_equal_ones_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (_of(one) == _of(other)) == (_strict(one) == _strict(other))


@given(_bodies, _hashed_names, _values, _values)
def test_one_hashed_field_changed_added_or_removed_changes_the_fingerprint(
    body: dict[str, Any], name: str, value: Any, other: Any
) -> None:
    with_value = {**body, name: value}
    without = {key: kept for key, kept in body.items() if key != name}
    assert _of(with_value) != _of(without)
    if _strict(value) != _strict(other):
        assert _of(with_value) != _of({**body, name: other})


@given(_bodies, st.dictionaries(st.sampled_from(sorted(UNHASHED_FIELDS)), _values))
def test_fields_that_cannot_change_the_answer_do_not_change_the_fingerprint(
    body: dict[str, Any], unhashed: dict[str, Any]
) -> None:
    assert _of({**unhashed, **body}) == _of(body)


@given(_bodies)
def test_the_order_of_fields_does_not_matter(body: dict[str, Any]) -> None:
    assert _of(dict(reversed(body.items()))) == _of(body)


@given(st.text(), st.text())
def test_organisations_never_share_a_fingerprint(one: str, other: str) -> None:
    assert (_of({}, organization=one) == _of({}, organization=other)) == (one == other)


def test_no_two_apis_share_a_fingerprint() -> None:
    assert len({fingerprint("org-1", api, _AUTOPILOT, {"prompt": "x"}) for api in Api.values()}) == len(Api.values())


def test_a_list_is_not_a_text_that_looks_like_it_nor_a_nested_field_a_flat_one() -> None:
    alike: list[dict[str, Any]] = [
        {"stop": ["a", "b"]},
        {"stop": '["a","b"]'},
        {"stop": ["a,b"]},
        {"stop": ["b", "a"]},
        {"stop": {"0": "a", "1": "b"}},
        {"s": {"top": ["a", "b"]}},
        {"temperature": 1},
        {"temperature": True},
        {"temperature": "1"},
        {"n": {"model": "x"}},
        {"n": {"model": "y"}},
    ]
    assert len({_of(body) for body in alike}) == len(alike)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        (Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model="gpt-4o"), "model:gpt-4o"),
        (_AUTOPILOT, "baseline"),
        (Routing(mode=_GUIDED), "baseline"),
        (Routing(quality_threshold=0.0), "quality:3.0"),
        (Routing(quality_threshold=3.0), "quality:3.0"),
        (Routing(quality_threshold=3.01), "quality:3.5"),
        (Routing(quality_threshold=0.7 * 5), "quality:3.5"),
        (Routing(quality_threshold=4.5), "quality:4.5"),
        (Routing(quality_threshold=4.6), "quality:5.0"),
        (Routing(quality_threshold=5.0), "quality:5.0"),
        (Routing(mode=_GUIDED, quality_preference=QualityPreference.QUALITY_PREFERENCE_LOW), "quality:3.0"),
        (Routing(mode=_GUIDED, quality_preference=QualityPreference.QUALITY_PREFERENCE_MAX), "quality:4.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_asked_quality_is_rounded_up_to_a_class(routing: Routing, expected: str) -> None:
    assert quality_class(routing) == expected


@given(st.floats(0, 5), st.floats(0, 5))
def test_an_answer_never_stands_for_one_of_higher_quality(one: float, other: float) -> None:
    classes = [
        float(quality_class(Routing(quality_threshold=asked)).removeprefix("quality:")) for asked in (one, other)
    ]
    assert classes[0] >= one or classes[0] == pytest.approx(one)
    assert (classes[0] <= classes[1]) or one > other


def test_latency_and_cost_limits_share_answers_and_models_do_not() -> None:
    limited = Routing(mode=_GUIDED, latency_preference=LatencyPreference.LATENCY_PREFERENCE_FAST)
    limited.latency_budget_ms, limited.cost_budget_nanos = 500, 1_000
    assert _of({}, routing=limited) == _of({}, routing=Routing(mode=_GUIDED))
    models = [Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model=model) for model in ("a", "b", "")]
    assert len({_of({}, routing=routing) for routing in [*models, _AUTOPILOT]}) == 4


def test_it_is_the_same_in_every_process() -> None:
    program = (
        "from asahi.type.v1.routing_pb2 import Routing\n"
        "from asahi_edge.domain.fingerprint import fingerprint\n"
        "body = {'b': {'x': 1, 'y': {'q': None, 'p': 'é'}}, 'a': [1, 2.5, 'ß'], 'c': True}\n"
        "print(fingerprint('org-1', 1, Routing(), body).hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(seen) == 1


def _strict(value: Any) -> Any:
    """`value` in a form in which 1, 1.0 and True differ, as they do in JSON."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _strict(kept)) for name, kept in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_strict, value)))
    return (type(value).__name__, repr(value))
