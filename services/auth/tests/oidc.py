"""OIDC issuers for tests: a real provider as a process, and one of our own that publishes what a test says."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

GUARD_S = 120.0
AUDIENCE = "asahi"
_REDIRECT = "http://127.0.0.1/done"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Provider:
    """An OIDC provider in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """Ends the process; a second time changes nothing."""
        self.process.terminate()
        self.process.wait(GUARD_S)

    async def sign_in(self, subject: str, claims: dict[str, Any], *, audience: str = AUDIENCE) -> str:
        """The id token that `subject` gets by the authorization code flow."""
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self.url}/users/{subject}", json=claims) as answer:
                assert answer.status == 204
            asked = {"client_id": audience, "redirect_uri": _REDIRECT, "response_type": "code", "scope": "openid"}
            authorize = f"{self.url}/oauth2/authorize"
            async with session.post(authorize, params=asked, data={"sub": subject}, allow_redirects=False) as answer:
                (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": _REDIRECT}
            form |= {"client_id": audience, "client_secret": "any"}
            async with session.post(f"{self.url}/oauth2/token", data=form) as answer:
                token: str = (await answer.json())["id_token"]
                return token


@contextmanager
def provider(port: int = 0) -> Iterator[Provider]:
    """A provider on loopback; started again on the same port it has other keys."""
    port = port or _free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = Provider(f"http://localhost:{port}", process)
    try:
        yield started
    finally:
        started.stop()


async def answers(url: str) -> None:
    """Returns once something answers at `url`."""
    async with asyncio.timeout(GUARD_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/.well-known/openid-configuration") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


@dataclass
class OwnIssuer:
    """An issuer whose keys and documents the test says."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    """Fields of the discovery document that are other than usual."""
    body: bytes | None = None
    """Published in place of the keys."""
    status: int = 200
    hanging: bool = False
    fetches: int = 0

    def publish(self, kid: str, key: PrivateKey, **fields: Any) -> None:
        self.keys.append(jwk_of(key) | {"kid": kid, "use": "sig"} | fields)

    async def _discovery(self, _: web.Request) -> web.Response:
        usual = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return web.json_response(usual | self.document)

    async def _jwks(self, _: web.Request) -> web.Response:
        self.fetches += 1
        if self.hanging:
            await asyncio.sleep(GUARD_S)
        if self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        return web.json_response({"keys": self.keys}, status=self.status)


@asynccontextmanager
async def own_issuer() -> AsyncIterator[OwnIssuer]:
    """An issuer on loopback while the block runs."""
    issuer = OwnIssuer()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer._discovery)
    app.router.add_get("/keys", issuer._jwks)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        await runner.cleanup()


def jwk_of(key: PrivateKey) -> dict[str, Any]:
    """The public half as issuers publish it."""
    match key:
        case rsa.RSAPrivateKey():
            return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)


def signed(key: Any, claims: dict[str, Any], *, kid: str | None = "k1", alg: str = "ES256", **header: Any) -> str:
    """A token; `kid` None: it names no key."""
    return jwt.encode(claims, key, algorithm=alg, headers=header | ({} if kid is None else {"kid": kid}))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
