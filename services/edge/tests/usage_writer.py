"""A process for tests: settles one call after the other through a spool and tells each on stdout, until killed."""

import asyncio
import sys
from pathlib import Path

import structlog

from asahi_core.clock import SystemClock
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import SpoolOptions
from services.edge.tests.usage_records import usage_record


async def _write(root: Path, first: int, sync_always: bool) -> None:
    options = SpoolOptions(sync_always=sync_always, segment_bytes=20_000)
    log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    async with open_spool(root, SystemClock(), log, options) as spool:
        request = first
        while True:
            record = usage_record(request)
            spool.intend(record)
            await asyncio.sleep(0)
            if await spool.durable(spool.append([record])):
                print(record.request_id, flush=True)
            request += 1


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"))
