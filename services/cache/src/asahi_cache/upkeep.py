"""What the service does by itself: loading the model, sharing, sweeping, draining, learning."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from asahi_cache.domain.embedding import ModelMissing
from asahi_cache.domain.flights import Flights
from asahi_cache.domain.replays import Replays
from asahi_cache.domain.semantic.evidence_log import Evidence
from asahi_cache.domain.semantic.neighbours import StoreUnavailable
from asahi_cache.domain.semantic.similar import SimilarAnswers
from asahi_cache.domain.shared_flights import SharedFlights
from asahi_cache.domain.stored_responses import StoredResponses
from asahi_core.errors import AsahiError

Work = Callable[[], Coroutine[None, None, None]]
_SWEEP_EVERY_S = 10.0
_AGAIN_S = 1.0
"""After learning failed for a reason that nobody foresaw."""
_SETTLE_S = 2.0
"""At the end, seconds for questions that are still to be kept, and audits to be judged."""
_DRAIN_S = 2.0
"""At the end, seconds for flights under way, since new ones cannot begin."""


async def load_model(load: Work, name: str, log: FilteringBoundLogger) -> None:
    """Loads the embedding model, or says why there is none."""
    try:
        await load()
    except ModelMissing as error:
        log.warning("embedding_off", reason=str(error))
    else:
        log.info("embedding_ready", model=name)


async def share(run: Work, flights: SharedFlights, renew_every_s: float) -> None:
    """Keeps what is shared going, and renews leases of flights, until it is cancelled. `run`: whatever shares it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        while True:
            await asyncio.sleep(renew_every_s)
            await flights.renew()


async def sweep(
    flights: Flights, sweep_memory: Work, replays: Replays, responses: StoredResponses, log: FilteringBoundLogger
) -> None:
    """Drops what is over, until it is cancelled."""
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        flights.sweep()
        await sweep_memory()
        try:
            await replays.expire()
            await responses.expire()
        except AsahiError as error:
            log.warning("database_not_swept", error=error.message)


async def sweep_tier_two(evidence: Evidence, similar: SimilarAnswers | None, log: FilteringBoundLogger) -> None:
    """Keeps evidence, and drops questions and evidence that are over, until it is cancelled."""
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        try:
            await evidence.flush()
            await evidence.expire()
            if similar is not None:
                await similar.expire()
        except (AsahiError, StoreUnavailable) as error:
            log.warning("tier_2_not_swept", error=str(error))


async def drain(flights: Flights, stop: asyncio.Event) -> None:
    """Lets flights come to their end when the service stops."""
    await stop.wait()
    await flights.drain(_DRAIN_S)


async def learn(similar: SimilarAnswers, watch: Work, log: FilteringBoundLogger) -> None:
    """Keeps questions, judges audits, and watches over their store, until it is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_learn_on(similar, log))
        tasks.create_task(watch())


async def _learn_on(similar: SimilarAnswers, log: FilteringBoundLogger) -> None:
    while True:
        try:
            await similar.run()
        except Exception:
            log.exception("tier_2_learning_failed")
            await asyncio.sleep(_AGAIN_S)


async def settle_tier_two(evidence: Evidence, similar: SimilarAnswers | None, log: FilteringBoundLogger) -> None:
    """Keeps what has come still, for a moment; `learn` must be running."""
    try:
        if similar is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_S):
                    await similar.settled()
        await evidence.flush()
    except (AsahiError, StoreUnavailable) as error:
        log.warning("tier_2_not_settled", error=str(error))
