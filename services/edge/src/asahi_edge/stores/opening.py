"""Opening a spool: a folder of its own, what is in it, and what processes that are gone left in others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from asahi_core.clock import Clock
from asahi_edge.stores.folders import claim_abandoned, claim_first_free
from asahi_edge.stores.recovery import adopt, survey
from asahi_edge.stores.segments import SegmentedLog
from asahi_edge.stores.spool import DiskSpool, SpoolOptions


@asynccontextmanager
async def open_spool(
    root: Path, clock: Clock, log: FilteringBoundLogger, options: SpoolOptions
) -> AsyncIterator[DiskSpool]:
    """The spool of the first free folder below `root`, with what other folders' processes left behind.

    Raises OSError when no folder can be had, with a message for the operator.
    """
    folder = await asyncio.to_thread(claim_first_free, root)
    try:
        segments = options.open_log(folder.path)
        await asyncio.to_thread(_adopt_abandoned, root, segments, log, options)
        found = await asyncio.to_thread(survey, segments)
        if found.records or found.intents or found.damaged or found.torn:
            log.warning(
                "spool_found", records=found.records, intents=len(found.intents), damaged=found.damaged, torn=found.torn
            )
        spool = DiskSpool(folder.path, segments, found, clock=clock, log=log, options=options)
        try:
            yield spool
        finally:
            await spool.close()
    finally:
        folder.release()


def _adopt_abandoned(root: Path, segments: SegmentedLog, log: FilteringBoundLogger, options: SpoolOptions) -> None:
    for folder in claim_abandoned(root):
        try:
            found = adopt(options.open_log(folder.path), segments)
        except OSError as error:
            log.error("spool_not_adopted", folder=folder.path.name, error=str(error))
        else:
            if found.records or found.intents or found.damaged:
                log.warning(
                    "spool_adopted",
                    folder=folder.path.name,
                    records=found.records,
                    intents=len(found.intents),
                    damaged=found.damaged,
                )
