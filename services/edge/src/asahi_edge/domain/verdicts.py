"""Verdicts on keys and people's tokens, kept fresh for seconds: most requests need no hop to the auth service."""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from asahi.auth.v1.auth_pb2 import Verdict
from asahi_core.clock import Clock
from asahi_core.errors import DeadlineExceeded, InvalidApiKey, RateLimitExceeded, ServiceUnavailable
from asahi_core.keys import KeyDigest, digest_key
from asahi_edge.domain.address_limits import AddressLimit
from asahi_edge.domain.key_use import KeyUseReport
from asahi_edge.domain.ports import Authenticator

_ASK_AGAIN_S = 1.0
"""While auth cannot be reached, requests with a verdict in its grace time wait for it no oftener."""
REFUSED = "The API key is missing or not valid. Send 'Authorization: Bearer ask_…' with a key of this installation."


_LONGEST_TOKEN = 8192


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of the OIDC issuer, as it was sent."""

    text: str = field(repr=False)
    sha256: bytes


def is_token(credential: str) -> bool:
    """Whether this is a token of a person (a JWT) by its form, not a key."""
    return credential.count(".") == 2 and not credential.startswith("ask_")


@dataclass(slots=True)
class _Kept:
    verdict: Verdict
    fetched_at: float
    fresh: bool = True


class Verdicts:
    """Keeps verdicts for `fresh_s`; stretches them to `grace_s` only while the auth service cannot be reached.

    Nothing is stretched where the policy asks for strict revocation. Refusals are kept for `fresh_s` as
    well, and one address may ask for so many unknown keys only: forged ones take nothing away from known ones.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        *,
        fresh_s: float,
        grace_s: float,
        capacity: int = 10_000,
        unknown_keys: AddressLimit | None = None,
        hold_back_s: float = 0.0,
        report: KeyUseReport | None = None,
    ) -> None:
        """`hold_back_s`: how long an address that sent too many unknown keys waits for each further refusal."""
        self._authenticator = authenticator
        self._clock = clock
        self._fresh_s = fresh_s
        self._grace_s = grace_s
        self._capacity = capacity
        self._unknown_keys = unknown_keys
        self._hold_back_s = hold_back_s
        self._report = report
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        """Until when a key that auth refused is refused without asking."""
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asking: dict[tuple[bytes, int], asyncio.Task[Verdict]] = {}
        self._epoch = 0
        self._unreachable_until = 0.0

    async def verdict(self, key: str, address: str = "") -> Verdict:
        """The verdict on `key`, sent from `address` (empty: unknown).

        Raises:
            InvalidApiKey: it is malformed, mistyped, unknown, revoked or expired.
            RateLimitExceeded: it is not known here, and too many of those came from `address`.
            ServiceUnavailable: the auth service does not answer and no verdict within the grace time is kept.
        """
        try:
            verdict = await self._verdict(key, address)
        except (InvalidApiKey, RateLimitExceeded) as error:
            await self._refuse(error, address)
            raise
        if self._report is not None:
            self._report.used(verdict.api_key_id)
        return verdict

    def organization_of(self, key: str) -> str:
        """Whose `key` is as far as is known here, whether the verdict on it is fresh or not; empty: not known."""
        kept = self._kept.get(hashlib.sha256(key.encode("ascii", "replace")).digest())
        return "" if kept is None else kept.verdict.organization_id

    async def person(self, token: str, address: str = "") -> Verdict:
        """The verdict on a person's token, sent from `address`; kept as verdicts on keys are, and never past its end.

        Raises:
            InvalidApiKey: it is not valid.
            RateLimitExceeded, ServiceUnavailable: as of `verdict`.
        """
        try:
            if len(token) > _LONGEST_TOKEN or not token.isascii():
                raise InvalidApiKey(REFUSED)
            return await self._verdict_on(Token(token, hashlib.sha256(token.encode("ascii")).digest()), address)
        except (InvalidApiKey, RateLimitExceeded) as error:
            await self._refuse(error, address)
            raise

    async def _refuse(self, error: InvalidApiKey | RateLimitExceeded, address: str) -> None:
        """Reports a refusal. Who floods with forged keys waits for it, and takes no time from who has a valid one."""
        if self._report is not None:
            self._report.refused(address)
        if isinstance(error, RateLimitExceeded) and self._hold_back_s:
            await asyncio.sleep(self._hold_back_s)

    async def _verdict(self, key: str, address: str) -> Verdict:
        digest = digest_key(key)
        if digest is None:
            raise InvalidApiKey(REFUSED)
        return await self._verdict_on(digest, address)

    async def _verdict_on(self, digest: KeyDigest | Token, address: str) -> Verdict:
        kept = self._kept.get(digest.sha256)
        if kept is not None and kept.fresh and self._clock.monotonic() - kept.fetched_at < self._fresh_s:
            verdict = kept.verdict
        else:
            verdict = await self._ask_or_stretch(digest, kept, address)
        if (
            verdict.HasField("expires_at")
            and verdict.expires_at.ToMilliseconds() <= self._clock.now().timestamp() * 1000
        ):
            raise InvalidApiKey(REFUSED)
        return verdict

    def forget(self, api_key_id: str) -> None:
        """Drops what is kept of a key, for example because it was revoked."""
        self._epoch += 1
        for sha256 in [s for s, kept in self._kept.items() if kept.verdict.api_key_id == api_key_id]:
            del self._kept[sha256]

    def forget_organization(self, organization_id: str) -> None:
        """Drops what is kept of an organisation's keys."""
        self._epoch += 1
        self._refused.clear()
        for sha256 in [s for s, kept in self._kept.items() if kept.verdict.organization_id == organization_id]:
            del self._kept[sha256]

    def any_in_grace(self) -> bool:
        """Whether any key would be let in while the auth service cannot be reached."""
        newest = next(reversed(self._kept.values()), None)
        if newest is None:
            return False
        kept_s = max(self._fresh_s, self._grace_of(newest.verdict))
        return self._clock.monotonic() - newest.fetched_at < kept_s

    def _grace_of(self, verdict: Verdict) -> float:
        return 0.0 if verdict.policy.strict_revocation else self._grace_s

    async def _ask_or_stretch(self, digest: KeyDigest | Token, kept: _Kept | None, address: str) -> Verdict:
        now = self._clock.monotonic()
        in_grace = kept is not None and kept.fresh and now - kept.fetched_at < self._grace_of(kept.verdict)
        if kept is not None and in_grace and now < self._unreachable_until:
            return kept.verdict
        try:
            if kept is None:
                return await self._ask_of_unknown(digest, address)
            return await self._ask(digest)
        except (ServiceUnavailable, DeadlineExceeded) as error:
            self._unreachable_until = self._clock.monotonic() + _ASK_AGAIN_S
            if kept is not None and in_grace:
                return kept.verdict
            message = "Keys cannot be verified at the moment; try again shortly."
            raise ServiceUnavailable(message, retry_after_s=1.0) from error
        except InvalidApiKey:
            self._kept.pop(digest.sha256, None)
            self._refused[digest.sha256] = self._clock.monotonic() + self._fresh_s
            if len(self._refused) > self._capacity:
                self._refused.popitem(last=False)
            raise

    async def _ask_of_unknown(self, digest: KeyDigest | Token, address: str) -> Verdict:
        """Asks for a key that nothing is kept of; only refusals count against the address."""
        if self._refused.get(digest.sha256, 0.0) > self._clock.monotonic():
            raise InvalidApiKey(REFUSED)
        if self._unknown_keys is None or not address:
            return await self._ask(digest)
        self._unknown_keys.take(address)
        try:
            verdict = await self._ask(digest)
        except InvalidApiKey:
            raise
        except BaseException:
            self._unknown_keys.give_back(address)
            raise
        self._unknown_keys.give_back(address)
        return verdict

    async def _ask(self, digest: KeyDigest | Token) -> Verdict:
        """Asks once for all who wait for the same key, but for who came after a revocation."""
        name = digest.sha256, self._epoch
        asking = self._asking.get(name)
        if asking is None:
            asking = asyncio.create_task(self._fetch(digest))
            self._asking[name] = asking
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _fetch(self, digest: KeyDigest | Token) -> Verdict:
        epoch = self._epoch
        if isinstance(digest, Token):
            verdict = await self._authenticator.authenticate_person(digest.text)
        else:
            verdict = await self._authenticator.authenticate(digest)
        # A verdict that crossed a revocation on its way serves this call and is asked for again by the next.
        self._kept[digest.sha256] = _Kept(verdict, self._clock.monotonic(), fresh=epoch == self._epoch)
        self._kept.move_to_end(digest.sha256)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return verdict
