"""An installation that tests may break for a moment; each repairs what it broke."""

from collections.abc import Iterator

import pytest

from tests.installation import Installation, Organization, running_installation
from tests.simulator import SimulatorControl
from tests.surface.rows import SIMULATOR_RULES, UNPRICED

_CATALOG = f"""
models:
  - id: {UNPRICED}
    vendor: openai
    context_window: 100000
    max_output_tokens: 10000
    quality: {{chat: 3, knowledge: 3, code: 3, math: 3, extraction: 3, summarization: 3, translation: 3, tool_use: 3}}
    quality_source: made up for tests
    first_token_ms: 100
    output_tokens_per_second: 100
    latency_source: made up for tests
"""


@pytest.fixture(scope="package")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A whole installation with a model of unknown price, whose provider fails on command."""
    folder = tmp_path_factory.mktemp("surface")
    catalog = folder / "catalog.yaml"
    catalog.write_text(_CATALOG, encoding="utf-8")
    router = {"ASAHI_CATALOG_FILE": str(catalog), "ASAHI_RETRIES": "0", "ASAHI_BREAKER_FAILURES": "1000"}
    edge = {"ASAHI_SIGNUPS_PER_MINUTE": "10000"}
    with running_installation(folder / "data", environment={"router": router, "edge": edge}) as running:
        SimulatorControl(running.url_of("simulator")).rules(*SIMULATOR_RULES)
        yield running


@pytest.fixture
def caller(surface: Installation) -> Organization:
    """A new organisation of it."""
    return surface.signup("Surface")
