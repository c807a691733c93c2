"""The production settings of docs/governance.md: PostgreSQL, Redis, signing up by invite, addresses behind a proxy."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.installation import ADMIN_SECRET, Installation, running_installation
from tests.postgresql import postgresql
from tests.redis_server import redis_server

OPERATOR = {"x-admin-secret": ADMIN_SECRET}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two edges that share Redis, auth, billing and router on one PostgreSQL, signing up by invite."""
    with postgresql() as database, redis_server() as redis:
        shared = {"DATABASE_URL": database.create_database("asahi")}
        environment = {
            "auth": {**shared, "ASAHI_SIGNUP": "invite", "ASAHI_AUDIT_KEY": "secret of the audit chains " * 2},
            "billing": shared,
            "router": shared,
            "edge": {"REDIS_URL": redis.url, "ASAHI_TRUSTED_PROXIES": "127.0.0.0/8"},
        }
        folder = tmp_path_factory.mktemp("production")
        with running_installation(folder, edges=2, environment=environment) as running:
            yield running


def sign_up(production: Installation, **fields: str) -> httpx2.Response:
    """Asks for an organisation."""
    body = {"org_name": "Acme", "user_id": "ada", **fields}
    return httpx2.post(f"{production.url}/signup", json=body, timeout=30.0, verify=False)


def invite(production: Installation) -> str:
    """The code of a new invite."""
    made = httpx2.post(f"{production.url}/governance/invites", headers=OPERATOR, json={}, timeout=30.0, verify=False)
    code: str = made.json()["code"]
    return code


def test_who_has_an_invite_signs_up_once_and_who_has_none_does_not(production: Installation) -> None:
    code = invite(production)
    answers = [sign_up(production), sign_up(production, invite_code="wrong"), sign_up(production, invite_code=code),
               sign_up(production, invite_code=code)]  # fmt: skip
    assert [answer.status_code for answer in answers] == [403, 403, 201, 403]
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 403} == {"insufficient_scope"}


def test_a_rate_limit_is_one_for_all_edges(production: Installation) -> None:
    made = sign_up(production, invite_code=invite(production)).json()
    bearer = {"authorization": f"Bearer {made['api_key']}"}
    policy = {"rate_limits": {"requests_per_minute": 4}}
    url = f"{production.url}/governance/policies/{made['org_id']}"
    assert httpx2.post(url, headers=bearer, json=policy, timeout=30.0, verify=False).status_code == 200
    urls = [production.url_of(edge) for edge in ("edge", "edge2")]
    statuses = [
        httpx2.post(
            f"{urls[n % 2]}/infer", headers=bearer, json={"prompt": "hi"}, timeout=30.0, verify=False
        ).status_code
        for n in range(8)
    ]
    assert sorted(statuses) == [200] * 4 + [429] * 4


def test_a_change_of_policy_outlives_the_process(production: Installation) -> None:
    made = sign_up(production, invite_code=invite(production)).json()
    bearer = {"authorization": f"Bearer {made['api_key']}"}
    url = f"{production.url}/governance/policies/{made['org_id']}"
    httpx2.post(url, headers=bearer, json={"timezone": "Europe/Paris"}, timeout=30.0, verify=False)
    production["auth"].kill()
    production["auth"].start()
    production["auth"].wait_ready()
    assert httpx2.get(url, headers=bearer, timeout=30.0, verify=False).json()["timezone"] == "Europe/Paris"
