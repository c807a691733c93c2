"""Every variable that a service reads is set by its chart, or is one that its chart leaves to `extraEnv`."""

import importlib
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from deploy.k8s.generate import CHARTS, SERVICES

BY_EXTRA_ENV = {
    "edge": {
        "ASAHI_AUTH_FRESH_SECONDS", "ASAHI_AUTH_GRACE", "ASAHI_CACHE_TIMEOUT_SECONDS", "ASAHI_RESERVE_TIMEOUT_SECONDS",
        "ASAHI_SIMILAR_CHARACTERS", "ASAHI_DRAIN_SECONDS", "ASAHI_DRAIN_COST", "ASAHI_ORPHAN_SETTLE_SECONDS",
        "ASAHI_MAX_HEADER_BYTES",
    },
    "auth": {"ASAHI_OIDC_CLOCK_SKEW_SECONDS"},
    "cache": {"ASAHI_QDRANT_WAIT_SECONDS", "ASAHI_QUESTIONS_MOST", "ASAHI_CACHE_EDGE_QUEUE"},
    "router": {"ASAHI_RETRY_BUDGET", "ASAHI_DRAIN_SECONDS", "ASAHI_DRAIN_COST"},
    "billing": {"ASAHI_BILLING_SWEEP_SECONDS"},
}  # fmt: skip
"""Tuning that few need; each service's README has it."""
_LOGS = "ASAHI_LOG_FORMAT"
"""JSON, which is what a log collector wants and what is without the variable."""


def _variables(service: str) -> set[str]:
    settings: Any = vars(importlib.import_module(f"asahi_{service}.settings"))[f"{service.title()}Settings"]
    assert issubclass(settings, BaseSettings)
    return {field.alias or f"ASAHI_{name.upper()}" for name, field in settings.model_fields.items()}


def _templates(chart: str) -> str:
    return " ".join(
        path.read_text(encoding="utf-8") for path in (CHARTS / chart / "templates").iterdir() if path.is_file()
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_chart_sets_each_variable_of_its_service_or_leaves_it_to_extra_env(service: str) -> None:
    written = _templates(service) + _templates("library")
    by_service = "ASAHI_{{ upper $service }}_TARGET"
    targets = {f"ASAHI_{name.upper()}_TARGET" for name in SERVICES} if by_service in written else set()
    unset = {name for name in _variables(service) - targets if name not in written}
    assert unset == BY_EXTRA_ENV[service] | {_LOGS}


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_has_each_variable_that_is_left_to_extra_env(service: str) -> None:
    page = (CHARTS.parents[2] / "services" / service / "README.md").read_text(encoding="utf-8")
    assert not {name for name in BY_EXTRA_ENV[service] if f"`{name}`" not in page}
