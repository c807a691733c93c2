"""Where the SDKs are pointed at: the provider itself, and Asahi with an empty cache."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.conformance.places import Place
from tests.installation import ADMIN_SECRET, PATIENT, Installation, running_installation

NewKey = Callable[..., Place]
_numbers = itertools.count()


@pytest.fixture(scope="package")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that goes on asking a provider that fails on command."""
    environment = {**PATIENT, "router": {"ASAHI_BREAKER_FAILURES": "1000", "ASAHI_RETRY_BUDGET": "1000"}}
    with running_installation(tmp_path_factory.mktemp("conformance"), environment=environment) as running:
        yield running


@pytest.fixture
def direct(installation: Installation) -> Place:
    """The provider itself."""
    return Place(installation.url_of("simulator"), "none")


@pytest.fixture(scope="package")
def operator(installation: Installation) -> Iterator[httpx2.Client]:
    """The operator, whose new organisations nobody counts."""
    headers = {"x-admin-secret": ADMIN_SECRET}
    with httpx2.Client(base_url=installation.url, headers=headers, timeout=30.0, verify=False) as client:
        yield client


@pytest.fixture
def new_key(installation: Installation, operator: httpx2.Client) -> NewKey:
    """Makes keys of a new organisation, with what a key may have."""
    made = operator.post("/governance/organizations", json={"name": f"Conformance {next(_numbers)}"})
    assert made.status_code == 201, made.text

    def make(**fields: Any) -> Place:
        body = {"name": "sdk", "scopes": ["infer"], "organization_id": made.json()["id"], **fields}
        key = operator.post("/governance/api-keys", json=body)
        assert key.status_code == 201, key.text
        return Place(installation.url, key.json()["api_key"])

    return make


@pytest.fixture
def asahi(installation: Installation, operator: httpx2.Client) -> Place:
    """Asahi, for an organisation whose cache is empty."""
    made = operator.post("/signup", json={"org_name": f"Conformance {next(_numbers)}", "user_id": "tester"})
    assert made.status_code == 201, made.text
    return Place(installation.url, made.json()["api_key"])
