"""Routing as callers write it, as the routing that services understand."""

from decimal import Decimal

from google.protobuf.descriptor import EnumDescriptor

from asahi.type.v1.routing_pb2 import LatencyPreference, QualityPreference, Routing, RoutingMode
from asahi_core.errors import InvalidRequest
from asahi_core.money import NANOS_PER_DOLLAR
from asahi_edge.api.json import convert, decode_object
from asahi_edge.api.schemas.inference import RoutingFields, RoutingHeader

_MODES = {
    "autopilot": RoutingMode.ROUTING_MODE_AUTOPILOT,
    "guided": RoutingMode.ROUTING_MODE_GUIDED,
    "explicit": RoutingMode.ROUTING_MODE_EXPLICIT,
}
AUTOPILOT_MODELS = frozenset({"", "asahi", "auto", "asahi/autopilot"})
_GUIDED_MODELS = {"asahi/low": "low", "asahi/medium": "medium", "asahi/high": "high", "asahi/max": "max"}
VIRTUAL_MODELS = ("asahi", *_GUIDED_MODELS)
"""Names that leave the choice to Asahi, as `/v1/models` lists them."""


def mode_name(mode: RoutingMode.ValueType) -> str:
    """The mode as callers write it."""
    return choice_name(RoutingMode.DESCRIPTOR, mode, "ROUTING_MODE_")


def choice_name(choices: EnumDescriptor, value: int, prefix: str) -> str:
    """A value of an enumeration as callers over HTTP write it; of one that there is not, its number."""
    found = choices.values_by_number.get(value)
    return str(value) if found is None else found.name.removeprefix(prefix).lower()


def routing_of(fields: RoutingFields) -> Routing:
    """The routing that `fields` ask for; raises InvalidRequest where they contradict each other."""
    mode = fields.routing_mode
    if mode == "explicit" and fields.model_override is None:
        raise InvalidRequest("routing_mode 'explicit' needs 'model_override'.", param="model_override")
    if mode != "explicit" and fields.model_override is not None:
        raise InvalidRequest("'model_override' goes with routing_mode 'explicit'.", param="model_override")
    if mode != "guided":
        for name in ("quality_preference", "latency_preference"):
            if getattr(fields, name) is not None:
                raise InvalidRequest(f"'{name}' goes with routing_mode 'guided'.", param=name)
    if mode != "autopilot" and fields.quality_threshold is not None:
        raise InvalidRequest("'quality_threshold' goes with routing_mode 'autopilot'.", param="quality_threshold")
    routing = Routing(mode=_MODES[mode], model=fields.model_override or "")
    if fields.quality_threshold is not None:
        routing.quality_threshold = fields.quality_threshold
    if fields.quality_preference is not None:
        routing.quality_preference = QualityPreference.Value(f"QUALITY_PREFERENCE_{fields.quality_preference.upper()}")
    if fields.latency_preference is not None:
        routing.latency_preference = LatencyPreference.Value(f"LATENCY_PREFERENCE_{fields.latency_preference.upper()}")
    if fields.latency_budget_ms is not None:
        routing.latency_budget_ms = fields.latency_budget_ms
    if fields.cost_budget is not None:
        routing.cost_budget_nanos = _budget_nanos(fields.cost_budget)
    return routing


def routing_of_model(model: str, header: str | None) -> Routing:
    """The routing of a `/v1` call: its `model`, and what the header `x-asahi-routing` adds."""
    fields = _fields_of_header(header)
    if model in _GUIDED_MODELS:
        fields.routing_mode, fields.quality_preference = "guided", _GUIDED_MODELS[model]  # type: ignore[assignment]
    elif model not in AUTOPILOT_MODELS:
        fields.routing_mode, fields.model_override = "explicit", model
    return routing_of(fields)


def _fields_of_header(header: str | None) -> RoutingFields:
    if header is None:
        return RoutingFields()
    try:
        return convert(decode_object(header.encode("latin-1")), RoutingHeader)
    except InvalidRequest as error:
        raise InvalidRequest(f"Header x-asahi-routing: {error.message}", param=error.param) from error


def _budget_nanos(amount: float) -> int:
    """Rounded down, for it is the most that may be spent; one of less than a nano-dollar was refused before."""
    return int(Decimal(repr(amount)) * NANOS_PER_DOLLAR)
