"""The identity of a request: equal where the answers may stand for each other, different in everything else.

The fingerprint hashes everything in a request except a short list that cannot change the answer, plus organisation,
API family, and the model (explicit) or the quality class (autopilot, guided). It is the same in every process and at
every start: a canonical JSON text (sorted keys, no white space) under SHA-256.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import QualityPreference, Routing, RoutingMode

_VERSION = 1
_CLASSES = (3.0, 3.5, 4.0, 4.5, 5.0)
PREFERRED_QUALITY = {
    QualityPreference.QUALITY_PREFERENCE_LOW: 3.0,
    QualityPreference.QUALITY_PREFERENCE_MEDIUM: 3.5,
    QualityPreference.QUALITY_PREFERENCE_HIGH: 4.0,
    QualityPreference.QUALITY_PREFERENCE_MAX: 4.5,
}
UNHASHED_FIELDS = frozenset(
    {
        "cost_budget",
        "explain",
        "latency_budget_ms",
        "latency_preference",
        "metadata",
        "model",  # hashed as the model or the quality class
        "model_override",
        "organization_id",
        "quality_preference",
        "quality_threshold",
        "routing_mode",
        "stream",
        "stream_options",
        "task_id",
        "user",  # where the policy keeps users apart, `domain.policies` says so
        "user_id",
    }
)
_canonical = msgspec.json.Encoder(order="deterministic")


def fingerprint(
    organization_id: str,
    api: Api.ValueType,
    routing: Routing,
    body: Mapping[str, Any],
    apart: Mapping[str, Any] | None = None,
) -> bytes:
    """SHA-256, 32 bytes. `body` is the decoded JSON object that the caller sent, `apart` what else sets it apart."""
    identity = {
        "version": _VERSION,
        "organization": organization_id,
        "api": Api.Name(api),
        "model": quality_class(routing),
        "body": {name: value for name, value in body.items() if name not in UNHASHED_FIELDS},
    }
    if apart:
        identity["apart"] = apart
    return hashlib.sha256(_canonical.encode(identity)).digest()


def quality_class(routing: Routing) -> str:
    """What stands for the model in a fingerprint: `model:NAME`, `quality:3.5` (rounded up), or `baseline`."""
    if routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT:
        return f"model:{routing.model}"
    asked = routing.quality_threshold if routing.HasField("quality_threshold") else 0.0
    asked = max(asked, PREFERRED_QUALITY.get(routing.quality_preference, 0.0))
    if not asked and not routing.HasField("quality_threshold"):
        return "baseline"
    return f"quality:{next((c for c in _CLASSES if math.isclose(asked, c) or asked < c), _CLASSES[-1])}"
