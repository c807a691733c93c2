"""People with tokens of the OIDC issuer: what they open at the edge, and how long a verdict on a token is kept."""

from collections.abc import Sequence

import httpx2
import pytest
import structlog

from asahi.auth.v1.auth_pb2 import KeyUse, RefusedLogins, Scope, Verdict
from asahi_core.clock import ManualClock
from asahi_core.errors import AsahiError, InvalidApiKey, ServiceUnavailable
from asahi_core.ids import SystemIds
from asahi_core.keys import KeyDigest, mint_key
from asahi_edge.domain.address_limits import AddressLimit
from asahi_edge.domain.key_use import KeyUseReport
from asahi_edge.domain.verdicts import Verdicts, is_token
from services.edge.tests.serving import Served, scopes, serving

FRESH_S, GRACE_S, MOST_REFUSED = 5.0, 60.0, 2
TOKEN, OTHER = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2ln"
AWAY = ServiceUnavailable("The auth service does not answer.", retry_after_s=1.0)


class _Auth:
    """Says the same of every token; keeps what it is told of keys and refusals."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: AsahiError | None = None
        self.expires_in_s = 3600.0
        self.clock = ManualClock()
        self.uses: list[KeyUse] = []
        self.refusals: list[RefusedLogins] = []

    async def authenticate(self, key: KeyDigest) -> Verdict:
        raise InvalidApiKey("No key is known.")

    async def authenticate_person(self, token: str) -> Verdict:
        self.asked.append(token)
        if self.failure is not None:
            raise self.failure
        verdict = Verdict(organization_id="org-1", principal_id="person:ada")
        verdict.expires_at.FromMilliseconds(int((self.clock.now().timestamp() + self.expires_in_s) * 1000))
        return verdict

    async def record_key_use(self, uses: Sequence[KeyUse]) -> None:
        self.uses += uses

    async def record_refusals(self, refusals: Sequence[RefusedLogins]) -> None:
        self.refusals += refusals


class _Edge:
    def __init__(self) -> None:
        self.auth = _Auth()
        self.clock = self.auth.clock
        self.report = KeyUseReport(self.auth, self.clock, structlog.get_logger())
        self.verdicts = Verdicts(
            self.auth,
            self.clock,
            fresh_s=FRESH_S,
            grace_s=GRACE_S,
            unknown_keys=AddressLimit("unknown keys", MOST_REFUSED, self.clock),
            report=self.report,
        )

    async def is_let_in(self, token: str = TOKEN) -> bool:
        try:
            await self.verdicts.person(token, "10.0.0.1")
        except InvalidApiKey:
            return False
        return True


async def test_a_verdict_on_a_token_is_kept_while_it_is_fresh_and_each_token_has_its_own() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    assert await edge.is_let_in()
    assert await edge.is_let_in(OTHER)
    assert edge.auth.asked == [TOKEN, OTHER]
    edge.clock.advance(FRESH_S)
    assert await edge.is_let_in()
    assert edge.auth.asked == [TOKEN, OTHER, TOKEN]


async def test_a_token_ends_while_its_verdict_is_fresh() -> None:
    edge = _Edge()
    edge.auth.expires_in_s = 2.0
    assert await edge.is_let_in()
    edge.clock.advance(2.0)
    assert not await edge.is_let_in()


async def test_a_verdict_is_stretched_while_auth_is_away_but_never_past_the_tokens_end() -> None:
    edge = _Edge()
    edge.auth.expires_in_s = 30.0
    assert await edge.is_let_in()
    edge.auth.failure = AWAY
    edge.clock.advance(29.0)
    assert await edge.is_let_in()
    edge.clock.advance(1.0)
    assert not await edge.is_let_in()
    with pytest.raises(ServiceUnavailable):
        await edge.verdicts.person(OTHER)


async def test_people_of_an_organization_that_is_suspended_are_asked_for_again() -> None:
    edge = _Edge()
    assert await edge.is_let_in()
    edge.verdicts.forget_organization("org-1")
    edge.auth.failure = InvalidApiKey("The organization is suspended.")
    assert not await edge.is_let_in()


async def test_a_refused_token_is_remembered_and_counted_and_no_use_of_a_key_is_reported() -> None:
    edge = _Edge()
    assert await edge.is_let_in(OTHER)
    edge.auth.failure = InvalidApiKey("It is forged.")
    for _ in range(3):
        assert not await edge.is_let_in()
    assert edge.auth.asked == [OTHER, TOKEN]
    await edge.report.report()
    assert edge.auth.uses == []
    assert [(one.address, one.count) for one in edge.auth.refusals] == [("10.0.0.1", 3)]


@pytest.mark.parametrize("token", ["a.b." + "c" * 8192, "a.b.ü"])
async def test_what_cannot_be_a_token_is_refused_without_asking(token: str) -> None:
    edge = _Edge()
    assert not await edge.is_let_in(token)
    assert edge.auth.asked == []


def test_tokens_are_told_from_keys_by_their_form() -> None:
    assert is_token(TOKEN)
    for other in (mint_key(SystemIds()), "ask_a.b.c", "a.b", "a.b.c.d", "", "sk-live"):
        assert not is_token(other)


_PATHS = ["/metrics", "/analytics/cost-summary", "/governance/api-keys"]


async def _get(edge: Served, path: str, credential: str = TOKEN) -> httpx2.Response:
    return await edge.client.get(path, headers={"authorization": f"Bearer {credential}"})


@pytest.mark.parametrize("path", _PATHS)
async def test_a_person_without_a_scope_is_known_and_opens_nothing(path: str) -> None:
    async with serving() as edge:
        answer = await _get(edge, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


async def test_analytics_do_not_open_governance() -> None:
    async with serving() as edge:
        edge.auth.says_of_people.scopes.extend(scopes("analytics"))
        assert (await _get(edge, "/governance/api-keys")).status_code == 403


_INFERENCE = ["POST /infer", "POST /v1/chat/completions", "GET /v1/models", "GET /models", "POST /feedback"]


@pytest.mark.parametrize("called", _INFERENCE)
async def test_a_token_opens_no_inference_whatever_its_scopes(called: str) -> None:
    method, path = called.split()
    async with serving() as edge:
        edge.auth.says_of_people.scopes.extend(scopes("all", "admin", "analytics"))
        answer = await edge.client.request(method, path, json={}, headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert edge.auth.tokens == []


async def test_a_person_governs_in_their_own_name_and_organization() -> None:
    async with serving() as edge:
        edge.auth.says_of_people.scopes.extend(scopes("admin"))
        named = await edge.client.delete(
            "/governance/api-keys/key_1?organization_id=org-2", headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert named.json()["error"]["code"] == "organization_mismatch"
        await edge.client.delete("/governance/api-keys/key_1", headers={"authorization": f"Bearer {TOKEN}"})
        (request,) = edge.governance.revocations
        assert request.organization_id == "org-1"
        assert request.actor.person.subject == "ada"
        assert request.actor.person.organization_id == "org-1"
        assert list(request.actor.person.scopes) == [Scope.SCOPE_ADMIN]
        assert request.actor.address == "127.0.0.1"


async def test_a_refused_token_is_told_in_the_words_of_a_refused_key() -> None:
    async with serving() as edge:
        edge.auth.refuses = InvalidApiKey("The API key is missing or not valid.")
        token, key = await _get(edge, "/metrics"), await _get(edge, "/metrics", mint_key(SystemIds()))
        messages = [answer.json()["error"] | {"request_id": ""} for answer in (token, key)]
        assert token.status_code == key.status_code == 401
        assert messages[0] == messages[1]
