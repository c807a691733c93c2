"""People with tokens of an OIDC issuer: a real provider, a rollover of its keys, and what hostile tokens meet."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.clients.issuer import OidcIssuer
from asahi_auth.settings import AuthSettings
from asahi_core.errors import AsahiError, InvalidApiKey, OrganizationSuspended, ServiceUnavailable
from services.auth.tests.oidc import AUDIENCE, OwnIssuer, answers, own_issuer, provider, signed
from services.auth.tests.running import OPERATOR, RunningAuth, quiet_log, running

_KEY, _OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)
_SCOPES = {"asahi-admins": "admin", "finance": "analytics", "owners": "all"}


@asynccontextmanager
async def _auth(tmp_path: Path, issuer_url: str, **settings: Any) -> AsyncIterator[tuple[RunningAuth, str]]:
    """The auth service with that issuer, and the id of an organisation."""
    async with running(tmp_path, **({"oidc_issuer": issuer_url, "oidc_scopes": _SCOPES} | settings)) as auth:
        yield auth, (await auth.signup()).organization_id


async def _verdict(auth: RunningAuth, token: str) -> pb.Verdict:
    return (await auth.stub.AuthenticatePerson(pb.AuthenticatePersonRequest(token=token))).verdict


async def _refusal(auth: RunningAuth, token: str) -> AsahiError:
    with pytest.raises(InvalidApiKey) as raised:
        await _verdict(auth, token)
    return raised.value


def _claims(issuer: OwnIssuer, organization_id: str, **other: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600}
    return usual | {"organization_id": organization_id, "groups": ["asahi-admins"]} | other


def _without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


async def test_a_person_signs_in_at_a_real_provider_and_has_what_the_claims_say(tmp_path: Path) -> None:
    with provider() as real:
        await answers(real.url)
        async with _auth(tmp_path, real.url) as (auth, organization_id):
            claims = {"organization_id": organization_id, "groups": ["staff", "finance", "asahi-admins"]}
            token = await real.sign_in("ada", claims)
            verdict = await _verdict(auth, token)
            assert verdict.organization_id == organization_id
            assert list(verdict.scopes) == [pb.Scope.SCOPE_ANALYTICS, pb.Scope.SCOPE_ADMIN]
            assert (verdict.principal_id, verdict.api_key_id) == ("person:ada", "")
            left_s = verdict.expires_at.ToSeconds() - time.time()
            assert 3500 < left_s < 3700

            await _refusal(auth, await real.sign_in("bob", claims, audience="another"))
            await _refusal(auth, await real.sign_in("eve", {"groups": ["asahi-admins"]}))
            nothing = await _verdict(auth, await real.sign_in("dan", claims | {"groups": ["staff"]}))
            assert list(nothing.scopes) == []


async def test_tokens_of_a_provider_that_comes_back_with_other_keys_are_accepted_at_once(tmp_path: Path) -> None:
    with provider() as real:
        await answers(real.url)
        async with _auth(tmp_path, real.url) as (auth, organization_id):
            claims = {"organization_id": organization_id, "groups": "finance"}
            await _verdict(auth, await real.sign_in("ada", claims))
            with_old_key = await real.sign_in("ada", claims)
            port = int(real.url.rpartition(":")[2])
            real.stop()
            await _verdict(auth, with_old_key)
            with provider(port) as again:
                await answers(again.url)
                await _verdict(auth, await again.sign_in("ada", claims))
                await _refusal(auth, with_old_key)


async def test_during_a_rollover_of_keys_no_valid_token_is_refused(tmp_path: Path) -> None:
    """As issuers do it: the new key is published, signs, and the old one goes; forged tokens arrive all the while."""
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _auth(tmp_path, issuer.url) as (auth, organization_id):
            claims = _claims(issuer, organization_id)
            stop = asyncio.Event()

            async def flood() -> int:
                sent = 0
                while not stop.is_set():
                    await _refusal(auth, signed(_OTHER, claims, kid=f"forged-{sent}"))
                    sent += 1
                return sent

            flooding = [asyncio.create_task(flood()) for _ in range(20)]
            await _verdict(auth, signed(_KEY, claims))
            issuer.publish("k2", _RSA)
            new = [_verdict(auth, signed(_RSA, claims, kid="k2", alg="RS256")) for _ in range(20)]
            old = [_verdict(auth, signed(_KEY, claims)) for _ in range(20)]
            await asyncio.gather(*new, *old)
            issuer.keys = [key for key in issuer.keys if key["kid"] == "k2"]
            await asyncio.gather(*[_verdict(auth, signed(_RSA, claims, kid="k2", alg="RS256")) for _ in range(20)])
            stop.set()
            assert sum(await asyncio.gather(*flooding)) >= 20


async def test_every_hostile_token_is_refused_in_the_words_of_an_unknown_key(tmp_path: Path) -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        issuer.publish("rsa", _RSA)
        async with _auth(tmp_path, issuer.url, oidc_clock_skew_seconds=5) as (auth, organization_id):
            good, now = _claims(issuer, organization_id), int(time.time())
            assert (await _verdict(auth, signed(_KEY, good))).user_id == "ada"
            public_pem = _RSA.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            valid = signed(_KEY, good)
            head, body, signature = valid.split(".")
            hostile = {
                "alg none": _raw({"alg": "none", "kid": "k1"}, good, b""),
                "alg None": _raw({"alg": "None", "kid": "k1"}, good, b""),
                "HS256 with the public key": _hs256({"alg": "HS256", "kid": "rsa"}, good, public_pem),
                "HS256 with the key as published": _hs256(
                    {"alg": "HS256", "kid": "rsa"}, good, json.dumps(issuer.keys[1]).encode()
                ),
                "an algorithm of another kind of key": signed(_RSA, good, kid="k1", alg="RS256"),
                "another key": signed(_OTHER, good),
                "the right key under another's id": signed(_KEY, good, kid="rsa"),
                "an unknown kid": signed(_KEY, good, kid="k9"),
                "no kid, where there are two keys": signed(_KEY, good, kid=None),
                "a kid that is a path": signed(_KEY, good, kid="../../etc/passwd"),
                "a kid that is no text": _raw({"alg": "ES256", "kid": 7}, good, b"x"),
                "crit": signed(_KEY, good, crit=["exp"]),
                "crit of b64": signed(_KEY, good, crit=["b64"], b64=True),
                "its own key in the header": signed(_OTHER, good, kid="k9", jwk=issuer.keys[0]),
                "a place of keys in the header": signed(_OTHER, good, kid="k9", jku=f"{issuer.url}/keys"),
                "wrong audience": signed(_KEY, good | {"aud": "another"}),
                "several audiences, none ours": signed(_KEY, good | {"aud": ["a", "b"]}),
                "no audience": signed(_KEY, _without(good, "aud")),
                "wrong issuer": signed(_KEY, good | {"iss": "https://evil.example"}),
                "issuer with a slash more": signed(_KEY, good | {"iss": issuer.url + "/"}),
                "no issuer": signed(_KEY, _without(good, "iss")),
                "expired": signed(_KEY, good | {"exp": now - 6}),
                "no end": signed(_KEY, _without(good, "exp")),
                "an end that is text": signed(_KEY, good | {"exp": str(now + 600)}),
                "an end that is true": signed(_KEY, good | {"exp": True}),
                "not yet valid": signed(_KEY, good | {"nbf": now + 60}),
                "issued in the future": signed(_KEY, good | {"iat": now + 60}),
                "no subject": signed(_KEY, _without(good, "sub")),
                "an empty subject": signed(_KEY, good | {"sub": ""}),
                "no organization": signed(_KEY, _without(good, "organization_id")),
                "an unknown organization": signed(_KEY, good | {"organization_id": "org_unknown"}),
                "two organizations": signed(_KEY, good | {"organization_id": [organization_id, "org_2"]}),
                "oversized": signed(_KEY, good | {"padding": "x" * 8192}),
                "a changed body": f"{head}.{body[:-4]}AAAA.{signature}",
                "no signature": f"{head}.{body}.",
                "too few parts": f"{head}.{body}",
                "no JSON": "a.b.c",
                "empty": "",
                "nothing but dots": "..",
            }
            unknown_key = await _refusal_of_an_unknown_key(auth)
            for what, token in hostile.items():
                try:
                    refusal = await _refusal(auth, token)
                except pytest.fail.Exception:
                    pytest.fail(f"accepted: {what}")
                assert refusal.message == unknown_key.message, what


async def _refusal_of_an_unknown_key(auth: RunningAuth) -> AsahiError:
    with pytest.raises(InvalidApiKey) as raised:
        await auth.stub.Authenticate(pb.AuthenticateRequest(key_prefix="AAAAAAAA", key_sha256=bytes(32)))
    return raised.value


@pytest.mark.parametrize("early", [True, False], ids=["a little early", "a little late"])
async def test_clocks_may_differ_by_what_is_granted(tmp_path: Path, *, early: bool) -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _auth(tmp_path, issuer.url, oidc_clock_skew_seconds=60) as (auth, organization_id):
            now = int(time.time())
            times = {"nbf": now + 30, "iat": now + 30} if early else {"exp": now - 30}
            verdict = await _verdict(auth, signed(_KEY, _claims(issuer, organization_id, **times)))
            assert verdict.expires_at.ToSeconds() > now


async def test_an_organization_that_is_suspended_lets_nobody_in(tmp_path: Path) -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _auth(tmp_path, issuer.url) as (auth, organization_id):
            token = signed(_KEY, _claims(issuer, organization_id))
            await _verdict(auth, token)
            request = pb.SetOrganizationSuspendedRequest(
                actor=OPERATOR, organization_id=organization_id, suspended=True
            )
            await auth.stub.SetOrganizationSuspended(request)
            with pytest.raises(OrganizationSuspended):
                await _verdict(auth, token)


async def test_without_an_issuer_every_token_is_refused(tmp_path: Path) -> None:
    async with _auth(tmp_path, "") as (auth, organization_id):
        await _refusal(auth, signed(_KEY, _claims(OwnIssuer("https://issuer.example"), organization_id)))


async def test_claims_inside_others_and_with_names_like_addresses_are_found(tmp_path: Path) -> None:
    rules = {"oidc_organization_claim": "https://asahi.example/org", "oidc_scopes_claim": "realm_access.roles"}
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _auth(tmp_path, issuer.url, **rules) as (auth, organization_id):
            claims = _claims(issuer, "org_other", realm_access={"roles": ["owners", "infer", 7]})
            verdict = await _verdict(auth, signed(_KEY, claims | {"https://asahi.example/org": organization_id}))
            assert (verdict.organization_id, list(verdict.scopes)) == (organization_id, [pb.Scope.SCOPE_ALL])


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (_RSA, "RS512"),
        (_RSA, "PS256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
async def test_the_asymmetric_algorithms_of_issuers_are_known(key: Any, alg: str) -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", key)
        async with _verifying(issuer) as verifier:
            assert (await verifier.verified(signed(key, _claims(issuer, "org"), alg=alg)))["sub"] == "ada"


@asynccontextmanager
async def _verifying(issuer: OwnIssuer, **options: float) -> AsyncIterator[OidcIssuer]:
    verifier = OidcIssuer(issuer.url, AUDIENCE, quiet_log(), **({"pause_s": 0.05} | options))
    try:
        yield verifier
    finally:
        await verifier.close()


async def test_keys_for_other_uses_weak_ones_and_nonsense_verify_nothing() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - which is what is refused
    async with own_issuer() as issuer:
        issuer.publish("encrypts", _KEY, use="enc")
        issuer.publish("weak", weak)
        issuer.publish("fixed", _RSA, alg="RS512")
        issuer.publish("koblitz", ec.generate_private_key(ec.SECP256K1()))
        issuer.keys += [{"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}, {"kid": "empty"}, "nonsense", None]  # type: ignore[list-item]  # what issuers should not publish
        async with _verifying(issuer) as verifier:
            claims = _claims(issuer, "org")
            for token in (
                signed(_KEY, claims, kid="encrypts"),
                _raw({"alg": "RS256", "kid": "weak"}, claims, b"x" * 128),
                signed(_RSA, claims, kid="fixed", alg="RS256"),
                _hs256({"alg": "HS256", "kid": "shared"}, claims, b"secret"),
            ):
                with pytest.raises(InvalidApiKey):
                    await verifier.verified(token)
            assert await verifier.verified(signed(_RSA, claims, kid="fixed", alg="RS512"))


async def test_a_token_that_names_no_key_is_of_the_only_one_and_of_that_which_takes_its_place() -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _verifying(issuer) as verifier:
            claims = _claims(issuer, "org")
            assert await verifier.verified(signed(_KEY, claims, kid=None))
            with pytest.raises(InvalidApiKey):
                await verifier.verified(signed(_OTHER, claims, kid=None))
            issuer.keys.clear()
            issuer.publish("k2", _OTHER)
            assert await verifier.verified(signed(_OTHER, claims, kid=None))


async def test_a_flood_of_unknown_kids_asks_the_issuer_no_oftener_than_allowed() -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _verifying(issuer, pause_s=0.5) as verifier:
            claims = _claims(issuer, "org")
            await verifier.verified(signed(_KEY, claims))
            began = asyncio.get_running_loop().time()
            forged = [verifier.verified(signed(_OTHER, claims, kid=f"f-{i}")) for i in range(300)]
            refusals = await asyncio.gather(*forged, return_exceptions=True)
            assert all(isinstance(refusal, InvalidApiKey) for refusal in refusals)
            took_s = asyncio.get_running_loop().time() - began
            assert issuer.fetches <= 2 + took_s / 0.5


async def test_while_the_issuer_is_down_known_keys_serve_and_unknown_ones_cannot_be_told() -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _verifying(issuer, keep_s=0.0) as verifier:
            claims = _claims(issuer, "org")
            await verifier.verified(signed(_KEY, claims))
            for broken in ({"status": 500}, {"body": b"<html>"}, {"body": b" " * 300_000}, {"body": b"[]"}):
                issuer.status, issuer.body = 200, None
                for name, value in broken.items():
                    setattr(issuer, name, value)
                with pytest.raises(ServiceUnavailable):
                    await verifier.verified(signed(_OTHER, claims, kid="k2"))
                assert await verifier.verified(signed(_KEY, claims)), broken
            issuer.status, issuer.body = 200, None
            issuer.publish("k2", _OTHER)
            assert await verifier.verified(signed(_OTHER, claims, kid="k2"))


async def test_an_issuer_that_hangs_holds_nobody_up_whose_key_is_known() -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        async with _verifying(issuer, keep_s=0.0) as verifier:
            claims = _claims(issuer, "org")
            await verifier.verified(signed(_KEY, claims))
            issuer.hanging = True
            waiting = asyncio.create_task(verifier.verified(signed(_OTHER, claims, kid="k2")))
            await asyncio.sleep(0.2)
            assert await verifier.verified(signed(_KEY, claims))
            assert not waiting.done()
            with pytest.raises(ServiceUnavailable):
                await waiting


@pytest.mark.parametrize(
    "document", [{"issuer": "https://evil.example"}, {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}]
)
async def test_a_discovery_document_that_points_elsewhere_is_not_followed(document: dict[str, Any]) -> None:
    async with own_issuer() as issuer:
        issuer.publish("k1", _KEY)
        issuer.document = document
        async with _verifying(issuer) as verifier:
            with pytest.raises(ServiceUnavailable):
                await verifier.verified(signed(_KEY, _claims(issuer, "org")))
            assert issuer.fetches == 0


@pytest.mark.parametrize("address", ["http://issuer.example", "issuer.example", "ftp://127.0.0.1", "https://"])
def test_an_issuer_over_plain_http_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        AuthSettings(oidc_issuer=address)


@pytest.mark.parametrize("scopes", ['{"staff": "infer"}', '{"staff": "everything"}'])
def test_a_mapping_to_inference_is_refused_at_the_start(scopes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAHI_OIDC_SCOPES", scopes)
    with pytest.raises(ValidationError, match="analytics"):
        AuthSettings()


def _raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    return f"{_part(header)}.{_part(claims)}.{_base64(signature)}"


def _hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signing = f"{_part(header)}.{_part(claims)}"
    return f"{signing}.{_base64(hmac.digest(secret, signing.encode(), hashlib.sha256))}"


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
