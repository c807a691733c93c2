"""What callers write in headers, models and times, as the services understand it."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from asahi.type.v1.routing_pb2 import LatencyPreference, QualityPreference, RoutingMode
from asahi_core.errors import InvalidRequest
from asahi_edge.api.directives import cache_directives, tags
from asahi_edge.api.routing import mode_name, routing_of, routing_of_model
from asahi_edge.api.schemas.inference import RoutingFields
from asahi_edge.api.times import parse_time, period_of, rfc3339
from asahi_edge.domain.inference import CacheDirectives

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AUTOPILOT, GUIDED, EXPLICIT = (
    RoutingMode.ROUTING_MODE_AUTOPILOT,
    RoutingMode.ROUTING_MODE_GUIDED,
    RoutingMode.ROUTING_MODE_EXPLICIT,
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, CacheDirectives()),
        ({"cache-control": "no-cache"}, CacheDirectives(read=False)),
        ({"cache-control": "no-store"}, CacheDirectives(read=False, write=False)),
        ({"cache-control": "max-age=60"}, CacheDirectives(max_age_s=60)),
        ({"cache-control": "Max-Age=0 , NO-CACHE"}, CacheDirectives(read=False, max_age_s=0)),
        ({"cache-control": "private, must-revalidate"}, CacheDirectives()),
        ({"x-asahi-cache": "off"}, CacheDirectives(read=False, write=False)),
        ({"x-asahi-cache": "OFF", "cache-control": "max-age=5"}, CacheDirectives(read=False, write=False)),
        ({"x-asahi-cache": "exact"}, CacheDirectives(similar=False)),
    ],
)
def test_cache_headers_say_what_the_cache_may_do(headers: dict[str, str], expected: CacheDirectives) -> None:
    assert cache_directives(headers) == expected


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"x-asahi-cache": "sometimes"}, "x-asahi-cache"),
        ({"cache-control": "max-age=soon"}, "cache-control"),
        ({"cache-control": "max-age"}, "cache-control"),
        ({"cache-control": "max-age=-1"}, "cache-control"),
        ({"cache-control": "max-age=1.5"}, "cache-control"),
        ({"cache-control": "max-age=²"}, "cache-control"),
        ({"cache-control": "max-age=99999999999"}, "cache-control"),
    ],
)
def test_cache_headers_that_cannot_be_understood_are_refused_by_name(headers: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        cache_directives(headers)
    assert caught.value.param == param


def test_tags_are_names_and_values() -> None:
    assert tags({}) == {}
    assert tags({"x-asahi-tags": ""}) == {}
    assert tags({"x-asahi-tags": "team=research, env=eu west ,"}) == {"team": "research", "env": "eu west"}
    assert tags({"x-asahi-tags": "a=1,a=2"}) == {"a": "2"}


@pytest.mark.parametrize(
    "header",
    [
        "team",
        "team=",
        "=x",
        "a b=c",
        "a=b=c",
        "n" * 65 + "=x",
        "a=" + "v" * 129,
        ",".join(f"t{i}=1" for i in range(11)),
    ],
)
def test_tags_that_cannot_be_understood_are_refused(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tags({"x-asahi-tags": header})
    assert caught.value.param == "x-asahi-tags"
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("model", "mode", "name"),
    [
        ("", AUTOPILOT, ""),
        ("asahi", AUTOPILOT, ""),
        ("auto", AUTOPILOT, ""),
        ("asahi/autopilot", AUTOPILOT, ""),
        ("asahi/low", GUIDED, ""),
        ("asahi/max", GUIDED, ""),
        ("gpt-4o", EXPLICIT, "gpt-4o"),
        ("asahi/extreme", EXPLICIT, "asahi/extreme"),
    ],
)
def test_the_model_of_a_v1_call_says_how_it_is_routed(model: str, mode: RoutingMode.ValueType, name: str) -> None:
    routing = routing_of_model(model, None)
    assert (routing.mode, routing.model) == (mode, name)


def test_the_guided_models_ask_for_their_quality() -> None:
    asked = [routing_of_model(f"asahi/{name}", None).quality_preference for name in ("low", "medium", "high", "max")]
    assert asked == [
        QualityPreference.QUALITY_PREFERENCE_LOW,
        QualityPreference.QUALITY_PREFERENCE_MEDIUM,
        QualityPreference.QUALITY_PREFERENCE_HIGH,
        QualityPreference.QUALITY_PREFERENCE_MAX,
    ]


def test_the_routing_header_adds_what_a_v1_body_cannot_say() -> None:
    routing = routing_of_model("asahi/high", '{"latency_preference": "fast", "cost_budget": 0.01}')
    assert (routing.mode, routing.latency_preference) == (GUIDED, LatencyPreference.LATENCY_PREFERENCE_FAST)
    assert routing.cost_budget_nanos == 10_000_000
    assert routing_of_model("auto", '{"quality_threshold": 4.5}').quality_threshold == 4.5
    assert routing_of_model("gpt-4o", '{"latency_budget_ms": 900}').latency_budget_ms == 900


@pytest.mark.parametrize(
    ("header", "param"),
    [
        ("not json", None),
        ("[]", None),
        ('{"cost_budget": "much"}', "cost_budget"),
        ('{"routing_mode": "cheapest"}', "routing_mode"),
        ('{"latency_budget_ms": 0}', "latency_budget_ms"),
        ('{"cost_budget": 1e308}', "cost_budget"),
    ],
)
def test_a_routing_header_that_cannot_be_understood_is_refused_by_name(header: str, param: str | None) -> None:
    with pytest.raises(InvalidRequest, match="x-asahi-routing") as caught:
        routing_of_model("", header)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (RoutingFields(routing_mode="explicit"), "model_override"),
        (RoutingFields(model_override="gpt-4o"), "model_override"),
        (RoutingFields(routing_mode="guided", model_override="gpt-4o"), "model_override"),
        (RoutingFields(quality_preference="low"), "quality_preference"),
        (RoutingFields(latency_preference="fast"), "latency_preference"),
        (RoutingFields(routing_mode="guided", quality_threshold=3.0), "quality_threshold"),
        (RoutingFields(routing_mode="explicit", model_override="m", quality_threshold=3.0), "quality_threshold"),
    ],
)
def test_routing_that_contradicts_itself_is_refused_by_the_field_in_the_way(fields: RoutingFields, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        routing_of(fields)
    assert caught.value.param == param


@given(st.integers(1, 1_000_000 * 10**9))
def test_a_cost_budget_is_never_more_than_was_said(nanos: int) -> None:
    said = nanos / 1e9
    routing = routing_of(RoutingFields(cost_budget=said))
    assert 0 <= nanos - routing.cost_budget_nanos <= max(1, nanos // 10**15 + 1)
    assert routing.cost_budget_nanos / 1e9 <= said


def test_what_was_not_said_stays_unsaid() -> None:
    routing = routing_of(RoutingFields())
    assert [field.name for field, _ in routing.ListFields()] == ["mode"]
    assert mode_name(routing.mode) == "autopilot"
    zero = routing_of(RoutingFields(quality_threshold=0.0))
    assert zero.HasField("quality_threshold")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T12:00:00Z", NOW),
        ("2026-11-24T13:00:00+01:00", NOW),
        ("2026-11-24T12:00:00.250Z", NOW + timedelta(milliseconds=250)),
    ],
)
def test_times_are_rfc_3339(text: str, moment: datetime) -> None:
    assert parse_time(text, "from") == moment
    assert parse_time(rfc3339(moment), "from") == moment
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    assert rfc3339(timestamp) == rfc3339(moment)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-24T12:00:00", "2026-13-01T00:00:00Z", "2026-11-24", "9" * 500]
)
def test_what_is_no_time_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_time(text, "from")
    assert caught.value.param == "from"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("period", "length"), [(None, timedelta(hours=24)), ("1h", timedelta(hours=1)), ("week", timedelta(days=7))]
)
def test_a_period_ends_now(period: str | None, length: timedelta) -> None:
    assert period_of(period, None, None, NOW)[1:] == (NOW - length, NOW)


def test_a_period_may_be_said_by_its_ends() -> None:
    assert period_of(None, "2026-11-24T10:00:00Z", None, NOW) == ("custom", NOW - timedelta(hours=2), NOW)
    ends = period_of(None, "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", NOW)
    assert ends == ("custom", NOW - timedelta(hours=2), NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("period", "start", "end", "param"),
    [
        ("fortnight", None, None, "period"),
        ("", "2026-11-24T10:00:00Z", None, "period"),
        ("day", "2026-11-24T10:00:00Z", None, "period"),
        (None, None, "2026-11-24T10:00:00Z", "from"),
        (None, "2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z", "from"),
        (None, "2026-11-24T13:00:00Z", None, "from"),
        (None, "2026-11-24T10:00:00Z", "soon", "to"),
    ],
)
def test_periods_that_make_no_sense_are_refused(
    period: str | None, start: str | None, end: str | None, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        period_of(period, start, end, NOW)
    assert caught.value.param == param
