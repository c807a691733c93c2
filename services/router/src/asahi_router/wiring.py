"""Builds the router service's objects: the only place that knows which providers there are and who keeps outcomes."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from structlog.typing import FilteringBoundLogger
from threadpoolctl import threadpool_limits

from asahi.router.v1.router_pb2_grpc import add_RouterServiceServicer_to_server
from asahi_core.clock import Clock
from asahi_core.money import NANOS_PER_DOLLAR
from asahi_core.prices import OrganizationPrices, load_price_book
from asahi_core.prices.following import SERVICE as PRICES
from asahi_core.prices.following import PriceFollower
from asahi_core.rpc.channel import ServiceChannel
from asahi_core.rpc.identity import identity_of
from asahi_core.rpc.server import handled as handled_call
from asahi_core.rpc.server import serve
from asahi_core.sql.databases import Database, database_at
from asahi_core.telemetry import Tracing
from asahi_router.api.servicer import RouterServicer
from asahi_router.catalog.loader import CatalogFile, load_catalog
from asahi_router.catalog.marked_yaml import WrongCatalog
from asahi_router.catalog.serving import (
    SIMULATOR,
    Endpoint,
    own_endpoints,
    serve_embeddings,
    serve_models,
    simulator_endpoints,
    vendor_endpoints,
)
from asahi_router.clients.alike import CacheAlike, NothingAlike
from asahi_router.clients.billing import SERVICE as BILLING
from asahi_router.clients.billing import BillingOrphanLedger
from asahi_router.domain.breaker import BreakerRules, Breakers
from asahi_router.domain.candidates import Scale
from asahi_router.domain.comparisons import Comparisons
from asahi_router.domain.completion import CompletionLimits, Completions
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.counting import TokenCounts
from asahi_router.domain.decision import Decider, Past
from asahi_router.domain.embedding import LOCAL, EmbeddingDecider, ServedEmbedding
from asahi_router.domain.erasure import Eraser
from asahi_router.domain.escalation import Checks
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.evidence import TariffCosts
from asahi_router.domain.experience import Experience
from asahi_router.domain.exploration import Exploring
from asahi_router.domain.judging import Alike
from asahi_router.domain.listing import Listing
from asahi_router.domain.many_tongued import CountingProvider, ManyTongued
from asahi_router.domain.models import Catalog
from asahi_router.domain.observations import Observations
from asahi_router.domain.orphans import DrainLimits, Orphanage
from asahi_router.domain.outcomes import Outcomes
from asahi_router.domain.retry import RetryRules
from asahi_router.domain.tariffs import Tariffs
from asahi_router.domain.worth import Worth
from asahi_router.providers import ProviderConfig, ProviderProtocol, build_provider
from asahi_router.providers.local import SERVICE as CACHE
from asahi_router.providers.local import LocalProvider
from asahi_router.settings import RouterSettings, provider_key
from asahi_router.stores.opening import SCHEMA, open_outcomes
from asahi_router.stores.outcomes import SqlOutcomeStore

_BILLING_TIMEOUT_S = 10.0
_EMBED_TIMEOUT_S = 120.0
_FLUSH_S = 5.0
_COMPLETE = "/asahi.router.v1.RouterService/Complete"


class NoProvider(Exception):
    """Nothing is configured that could answer."""


@dataclass(frozen=True, slots=True)
class RouterService:
    """The service's objects, put together outside of the event loop."""

    catalog: Catalog
    embeddings: tuple[ServedEmbedding, ...]
    providers: dict[str, CountingProvider]
    scale: Scale
    observations: Observations
    estimator: TokenEstimator
    breakers: Breakers
    store: SqlOutcomeStore
    prices: OrganizationPrices
    clock: Clock
    random: Callable[[], float]


def build(settings: RouterSettings, clock: Clock, random: Callable[[], float]) -> RouterService:
    """The service as `settings` say. `random` yields numbers in [0, 1).

    Raises:
        WrongCatalog: the catalog or the provider file cannot be used.
        NoProvider: there is none.
        OSError: the database cannot be used.
    """
    # A decision multiplies small matrices: threads cost it more than they give, above all where cores are busy.
    threadpool_limits(1, "blas")
    known = load_catalog(settings.catalog_file)
    endpoints = _endpoints(settings, known)
    catalog = serve_models(known, endpoints, settings.baseline_model)
    embeddings = serve_embeddings(known, endpoints, local=bool(settings.cache_target))
    observations, estimator = Observations(known.models, clock), TokenEstimator()
    prices = OrganizationPrices(load_price_book())
    scale = Scale(catalog, Tariffs(prices, clock.now()), estimator, observations)
    store = open_outcomes(
        settings.data_dir, settings.database_url.get_secret_value(), migrate_first=settings.migrate_at_start
    )
    providers = _providers(settings, endpoints, catalog, embeddings)
    breakers = Breakers(clock, BreakerRules(threshold=settings.breaker_failures))
    return RouterService(
        catalog, embeddings, providers, scale, observations, estimator, breakers, store, prices, clock, random
    )


def database(settings: RouterSettings) -> Database:
    """Where outcomes are kept; raises OSError as `database_at` does."""
    return database_at(settings.database_url.get_secret_value(), settings.data_dir / "router.db")


async def run(service: RouterService, settings: RouterSettings, log: FilteringBoundLogger, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then settles what is left and closes everything.

    Raises:
        OSError: the address cannot be listened on.
    """
    clock = service.clock
    _tell(service, log)
    identity = identity_of(settings)
    billing = ServiceChannel(
        "billing", settings.billing_target, BILLING, timeout_s=_BILLING_TIMEOUT_S, identity=identity
    )
    ledger = BillingOrphanLedger(billing, log)
    prices = service.prices
    price_channel = ServiceChannel(
        "billing", settings.billing_target, PRICES, timeout_s=_BILLING_TIMEOUT_S, identity=identity
    )
    limits = DrainLimits(settings.drain_seconds, round(settings.drain_cost * NANOS_PER_DOLLAR))
    orphanage = Orphanage(ledger, prices, service.estimator, clock, limits)
    costs = TariffCosts(service.prices, clock)
    experience = Experience(service.store, costs, clock, log, settings.outcomes_in_memory)
    conversations, checks = Conversations(clock), Checks()
    models = Decider(service.scale, service.breakers.available, clock, Past(experience, conversations, checks))
    told = partial(EmbeddingDecider, service.embeddings, service.scale.tariffs, service.estimator, clock)
    decider, answering = told(others=models), told(others=Exploring(models, service.random, experience))
    providers: dict[str, CountingProvider] = dict(service.providers)
    alike: Alike = NothingAlike()
    if settings.cache_target:
        cache = ServiceChannel("cache", settings.cache_target, CACHE, timeout_s=_EMBED_TIMEOUT_S, identity=identity)
        providers[LOCAL] = LocalProvider(cache)
        alike = CacheAlike(cache)
    comparisons = Comparisons(
        decider=models,
        providers=providers,
        breakers=service.breakers,
        estimator=service.estimator,
        observations=service.observations,
        pairs=experience,
        alike=alike,
        orphanage=orphanage,
        clock=clock,
        code=partial(token_hex, 8),
        log=log,
    )
    completions = Completions(
        decider=answering,
        providers=providers,
        breakers=service.breakers,
        estimator=service.estimator,
        observations=service.observations,
        examples=experience,
        conversations=conversations,
        comparisons=comparisons,
        checks=checks,
        orphanage=orphanage,
        prices=prices,
        clock=clock,
        random=service.random,
        log=log,
        limits=CompletionLimits(retries=RetryRules(per_candidate=settings.retries, budget=settings.retry_budget)),
    )
    listing = Listing(service.scale, service.embeddings, service.breakers.available, clock)
    outcomes, eraser = Outcomes(service.store, clock), Eraser(service.store, experience, clock)
    working = [
        asyncio.create_task(ledger.run()),
        asyncio.create_task(experience.run()),
        asyncio.create_task(PriceFollower(price_channel, prices).follow(log)),
    ]
    try:
        with (
            closing(service.store),
            closing(Tracing("router", settings.otlp_endpoint, settings.trace_ratio)) as tracing,
        ):
            handled = partial(handled_call, _COMPLETE, tracing=tracing, log=log)
            counts = TokenCounts(models, providers, service.estimator)
            servicer = RouterServicer(
                decider,
                completions,
                counts,
                listing,
                outcomes,
                eraser=eraser,
                worth=Worth(experience, service.catalog),
                handled=handled,
                stop=stop,
            )
            await serve(
                settings.grpc_address,
                [lambda server: add_RouterServiceServicer_to_server(servicer, server)],
                stop=stop,
                grace_s=settings.shutdown_grace_seconds,
                tracing=tracing,
                log=log,
                identity=identity,
                health_address=settings.health_address,
            )
    finally:
        await orphanage.close(settings.drain_seconds)
        await ledger.flush(_FLUSH_S)
        for task in working:
            task.cancel()
        await asyncio.wait(working)
        for provider in providers.values():
            await provider.close()
        await price_channel.close()
        await billing.close()


def _endpoints(settings: RouterSettings, known: CatalogFile) -> list[Endpoint]:
    """The operator's own providers first, then the vendors whose keys there are, else the simulator."""
    own: list[Endpoint] = []
    if settings.providers_file is not None:
        own = own_endpoints(settings.providers_file, known, lambda name: bool(provider_key(name).get_secret_value()))
    vendors = vendor_endpoints(
        settings.openai_base_url if settings.openai_api_key.get_secret_value() else "",
        settings.anthropic_base_url if settings.anthropic_api_key.get_secret_value() else "",
        responses=settings.openai_responses,
    )
    if not vendors and settings.simulator_url:
        vendors = simulator_endpoints(settings.simulator_url)
    if not own and not vendors:
        raise NoProvider(
            "there is no provider: set OPENAI_API_KEY or ANTHROPIC_API_KEY, list providers in a file "
            "(ASAHI_PROVIDERS_FILE), or set ASAHI_SIMULATOR_URL"
        )
    return own + vendors


def _providers(
    settings: RouterSettings, endpoints: list[Endpoint], catalog: Catalog, embeddings: tuple[ServedEmbedding, ...]
) -> dict[str, CountingProvider]:
    keys = {"OPENAI_API_KEY": settings.openai_api_key, "ANTHROPIC_API_KEY": settings.anthropic_api_key}
    clients: dict[str, dict[str, CountingProvider]] = {}
    for endpoint in endpoints:
        config = ProviderConfig(
            id=endpoint.provider,
            protocol=ProviderProtocol(endpoint.protocol),
            base_url=endpoint.base_url,
            responses=endpoint.responses,
            label_calls=endpoint.provider == SIMULATOR,
            default_max_tokens=endpoint.default_max_tokens,
        )
        variable = endpoint.key_variable
        key = (keys.get(variable) or provider_key(variable)).get_secret_value() if variable else ""
        clients.setdefault(endpoint.provider, {})[endpoint.protocol] = build_provider(config, key)
    protocols = {(served.provider, served.model.id): served.protocol for served in catalog.models}
    protocols |= {(served.provider, served.model.id): "openai" for served in embeddings}
    return {name: _one(name, by_protocol, protocols) for name, by_protocol in clients.items()}


def _one(
    name: str, by_protocol: dict[str, CountingProvider], protocols: dict[tuple[str, str], str]
) -> CountingProvider:
    """`protocols`: by provider and model."""
    if len(by_protocol) == 1:
        return next(iter(by_protocol.values()))
    return ManyTongued(
        name, {model: by_protocol[protocol] for (provider, model), protocol in protocols.items() if provider == name}
    )


def _tell(service: RouterService, log: FilteringBoundLogger) -> None:
    """What a person should see at the start: who answers, and that the simulator is none."""
    served = {name: sum(m.provider == name for m in service.catalog.models) for name in service.providers}
    log.info("catalog", models=len(service.catalog.models), served=served, baseline=service.catalog.baseline)
    if SIMULATOR in served:
        log.warning("simulator", message="answers come from the provider simulator, not from a model")


__all__ = ["SCHEMA", "NoProvider", "RouterService", "WrongCatalog", "build", "database", "run"]
