"""A small catalog with round figures, and questions to decide with it."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Api, ChatRequest, ContentPart, Message, NativeBody, Prompt, Role
from asahi.type.v1.routing_pb2 import LatencyPreference, Routing, RoutingMode, RoutingPolicy
from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_router.domain.candidates import Scale
from asahi_router.domain.decision import Ranking, decide
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.models import Catalog, CatalogModel, ServedModel
from asahi_router.domain.observations import Observations
from asahi_router.domain.tariffs import Tariffs

NOW = datetime(2026, 11, 20, tzinfo=UTC)
EXPLICIT = RoutingMode.ROUTING_MODE_EXPLICIT
GUIDED = RoutingMode.ROUTING_MODE_GUIDED
OPENAI = Api.API_OPENAI_CHAT_COMPLETIONS
ANTHROPIC = Api.API_ANTHROPIC_MESSAGES

BEST, BASELINE, PEER, CHEAP, QUICK, UNPRICED = (
    "claude-opus-5-5",
    "gpt-6.1-sol",
    "gpt-6.1-terra",
    "gpt-6-luna",
    "gpt-4.1-nano",
    "llama-of-ours",
)
ALL = ("tools", "images", "json_schema", "reasoning")


def model(model_id: str, quality: float, first_token_ms: float, **others: Any) -> CatalogModel:
    fields: dict[str, Any] = {
        "vendor": "openai",
        "context_window": 100_000,
        "max_output_tokens": 10_000,
        "quality": {"chat": quality, "knowledge": quality, "tool_use": quality, "extraction": quality},
        "quality_source": "made up",
        "output_tokens_per_second": 100.0,
        "capabilities": ALL,
    }
    return CatalogModel(id=model_id, first_token_ms=first_token_ms, **{**fields, **others})


MODELS = (
    model(BEST, 4.9, 3000, vendor="anthropic", refuses=frozenset({"temperature"})),
    model(BASELINE, 4.8, 2000, refuses_while_reasoning=frozenset({"temperature"}), default_reasoning_effort="medium"),
    model(PEER, 4.78, 1000, aliases=("terra-latest",), tools_only_without_reasoning=True,
          default_reasoning_effort="medium"),
    model(CHEAP, 4.2, 1500, context_window=200_000),
    model(QUICK, 2.8, 200, capabilities=()),
    model(UNPRICED, 4.79, 500),
)  # fmt: skip


def scale(models: tuple[CatalogModel, ...] = MODELS, unserved: tuple[str, ...] = ()) -> Scale:
    served = tuple(ServedModel(m) if m.id in unserved else _serve(m) for m in sorted(models, key=lambda m: m.id))
    catalog = Catalog(
        models=served,
        baseline=BASELINE,
        latency_limits_ms={
            LatencyPreference.LATENCY_PREFERENCE_NORMAL: 2500,
            LatencyPreference.LATENCY_PREFERENCE_FAST: 1000,
            LatencyPreference.LATENCY_PREFERENCE_INSTANT: 300,
        },
        median_output_tokens={"chat": 100, "knowledge": 200, "tool_use": 50, "extraction": 80},
    )
    observations = Observations({m.id: m for m in models}, ManualClock(NOW))
    return Scale(catalog, Tariffs(load_price_book(), NOW), TokenEstimator(), observations)


def _serve(served: CatalogModel) -> ServedModel:
    anthropic = served.vendor == "anthropic"
    return ServedModel(served, served.vendor, served.id, served.vendor, 4096 if anthropic else None)


def chat(text: str = "Hello there", **fields: Any) -> Prompt:
    message = Message(role=Role.ROLE_USER, parts=[ContentPart(text=text)])
    return Prompt(chat=ChatRequest(messages=[message], **fields))


def native(api: Api.ValueType = OPENAI, text: str = "Hello there", **fields: Any) -> Prompt:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return Prompt(native=NativeBody(api=api, body=json.dumps(body).encode()))


def task(prompt: Prompt | None = None, policy: Mapping[str, Any] | None = None, **routing: Any) -> Task:
    return Task(
        organization_id="org",
        request_id="request",
        prompt=prompt or chat(),
        routing=Routing(**routing),
        policy=RoutingPolicy(**(policy or {})),
    )


def always(_provider: str, _model: str) -> bool:
    return True


def decided(asked: Task, *, at: Scale | None = None, available: Callable[[str, str], bool] = always) -> Ranking:
    return decide(asked, at or scale(), available, explain=True)


def chosen(asked: Task, **others: Any) -> str:
    return decided(asked, **others).decision.model


def excluded(ranking: Ranking) -> dict[str, str]:
    return {c.model: c.excluded_by for c in ranking.decision.candidates if c.excluded_by}
