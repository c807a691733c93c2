"""What the service does by itself: ending holds, checking the ledger, dropping old usage, following prices, alerts."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from asahi_billing.domain.alerts import Alerts
from asahi_billing.domain.price_sheets import PriceSheets
from asahi_billing.domain.retention import Retention
from asahi_billing.domain.spending import Spending
from asahi_core.errors import AsahiError

_FOLLOW_S = 1.0
_DROP_EVERY_S = 3600.0


async def sweep(spending: Spending, every_s: float, log: FilteringBoundLogger) -> None:
    """Ends overdue holds every `every_s` seconds, until it is cancelled."""

    async def once() -> None:
        expired = await spending.expire()
        if expired:
            log.warning("holds_expired", count=expired)

    await _repeat("sweep", once, every_s, log)


async def check(spending: Spending, every_s: float, log: FilteringBoundLogger) -> None:
    """Adds the whole ledger up every `every_s` seconds, until it is cancelled; says what does not agree."""

    async def once() -> None:
        found = await spending.check("")
        for one in found.breaks:
            log.error(
                "ledger_broken",
                figure=one.figure,
                place=one.place,
                expected_nanos=one.expected_nanos,
                found_nanos=one.found_nanos,
            )

    await _repeat("check", once, every_s, log)


async def follow_prices(sheets: PriceSheets, log: FilteringBoundLogger) -> None:
    """Takes over the prices that other processes set, within a second, until it is cancelled."""
    await _repeat("follow_prices", sheets.refresh, _FOLLOW_S, log)


async def drop_old(retention: Retention, log: FilteringBoundLogger) -> None:
    """Drops usage that is older than it is kept, every hour, until it is cancelled."""

    async def once() -> None:
        for organization_id, dropped in (await retention.drop()).items():
            log.info("usage_dropped", organization_id=organization_id, records=dropped)

    await _repeat("drop_old", once, _DROP_EVERY_S, log)


async def alert(alerts: Alerts, log: FilteringBoundLogger) -> None:
    """Raises and delivers alerts every second, until it is cancelled."""

    async def once() -> None:
        raised, delivered = await alerts.raise_due(), await alerts.deliver_due()
        if raised or delivered:
            log.info("alerts", raised=raised, delivered=delivered)

    await _repeat("alert", once, _FOLLOW_S, log)


async def _repeat(name: str, once: Callable[[], Awaitable[None]], every_s: float, log: FilteringBoundLogger) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await once()
        except AsahiError as error:  # a database that is away comes back
            log.warning("upkeep_failed", upkeep=name, reason=error.message)
