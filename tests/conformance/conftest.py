"""Where the SDKs are pointed at: the provider itself, and Asahi with an empty cache."""

import itertools
from collections.abc import Iterator

import httpx2
import pytest

from tests.conformance.places import Place
from tests.installation import ADMIN_SECRET, Installation

_numbers = itertools.count()


@pytest.fixture
def direct(installation: Installation) -> Place:
    """The provider itself."""
    return Place(installation.url_of("simulator"), "none")


@pytest.fixture(scope="session")
def operator(installation: Installation) -> Iterator[httpx2.Client]:
    """The operator, whose new organisations nobody counts."""
    headers = {"x-admin-secret": ADMIN_SECRET}
    with httpx2.Client(base_url=installation.url, headers=headers, timeout=30.0) as client:
        yield client


@pytest.fixture
def asahi(installation: Installation, operator: httpx2.Client) -> Place:
    """Asahi, for an organisation whose cache is empty."""
    made = operator.post("/governance/organizations", json={"name": f"Conformance {next(_numbers)}"})
    assert made.status_code == 201, made.text
    body = {"name": "sdk", "scopes": ["infer"], "organization_id": made.json()["id"]}
    key = operator.post("/governance/api-keys", json=body)
    assert key.status_code == 201, key.text
    return Place(installation.url, key.json()["api_key"])
