"""Clients of model providers, behind the domain's protocol."""

from asahi_router.providers.client import build_provider
from asahi_router.providers.config import ProviderConfig, ProviderProtocol, ProviderTimeouts

__all__ = ["ProviderConfig", "ProviderProtocol", "ProviderTimeouts", "build_provider"]
