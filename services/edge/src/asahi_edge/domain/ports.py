"""What the pipeline needs of the other services. Every method raises `AsahiError`s only."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from asahi.auth.v1 import auth_pb2
from asahi.auth.v1.auth_pb2 import Verdict
from asahi.billing.v1.billing_pb2 import GetCostSummaryResponse, UsageRecord
from asahi.cache.v1.cache_pb2 import CacheEntry, CacheHit
from asahi.router.v1.router_pb2 import CompleteResponse, ListModelsResponse, Task
from asahi_core.keys import KeyDigest


class Authenticator(Protocol):
    """The auth service."""

    async def authenticate(self, key: KeyDigest) -> Verdict:
        """Whose key it is and what it may do."""
        ...


class Governance(Protocol):
    """The auth service's organisations and keys."""

    async def signup(self, request: auth_pb2.SignupRequest) -> auth_pb2.SignupResponse:
        """A new organisation with its first key."""
        ...

    async def create_api_key(self, request: auth_pb2.CreateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """A new key."""
        ...

    async def list_api_keys(self, request: auth_pb2.ListApiKeysRequest) -> auth_pb2.ListApiKeysResponse:
        """A page of an organisation's keys."""
        ...

    async def revoke_api_key(self, request: auth_pb2.RevokeApiKeyRequest) -> auth_pb2.RevokeApiKeyResponse:
        """The revoked key."""
        ...


class AnswerCache(Protocol):
    """The cache service."""

    async def lookup(self, organization_id: str, fingerprint: bytes, max_age_s: float | None) -> CacheHit | None:
        """The answer kept under the fingerprint, over all tiers; None: a miss."""
        ...

    async def store(self, organization_id: str, fingerprint: bytes, entry: CacheEntry) -> None:
        """Keeps a complete answer."""
        ...


class ModelRouter(Protocol):
    """The router service."""

    def complete(self, task: Task, *, explain: bool) -> AbstractAsyncContextManager[AsyncIterator[CompleteResponse]]:
        """Opens a completion; its events come in order. Leaving the context early cancels the provider call."""
        ...


class Ledger(Protocol):
    """The billing service."""

    async def record(self, records: Sequence[UsageRecord]) -> None:
        """Records usage durably; a record that is known already changes nothing."""
        ...

    async def cost_summary(self, organization_id: str, start: datetime, end: datetime) -> GetCostSummaryResponse:
        """Sums of an organisation over [start, end)."""
        ...


class Catalog(Protocol):
    """The router service's catalog."""

    async def list_models(self) -> ListModelsResponse:
        """The models, with the provider that serves each here."""
        ...


class Probe(Protocol):
    """The health of the other services."""

    async def serving(self, service: str) -> bool:
        """Whether `service` answers, within a second, that it serves."""
        ...
