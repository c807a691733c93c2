"""Analytics on the ledger's database: each question reads one state of it, an export one for each page."""

from collections.abc import AsyncIterator, Sequence

from fastdigest import TDigest
from sqlalchemy import Connection

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.analytics_store import QUANTILES, Latencies
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.store import Span
from asahi_billing.stores import rollup_reads, statements
from asahi_billing.stores.rollups import CENTROIDS
from asahi_billing.stores.rows import from_row
from asahi_billing.stores.sql import SqlStore
from asahi_billing.stores.statements import ExportPosition

EXPORTED_AT_ONCE = 500


class SqlAnalytics:
    """An `AnalyticsStore` that reads with a store's own readers."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def by_value(self, organization_id: str, dimension: str, span: Span) -> dict[str, Figures]:
        """Figures by the values of a dimension."""
        return await self._store.read(lambda c: rollup_reads.by_value(c, organization_id, dimension, span))

    async def by_time(self, organization_id: str, span: Span, *, days: bool = False) -> dict[int, Figures]:
        """Figures by hour, or by full day."""
        return await self._store.read(lambda c: rollup_reads.by_time(c, organization_id, span, days=days))

    async def latencies(self, organization_id: str, span: Span) -> tuple[Latencies | None, list[Latencies]]:
        """Latencies of full hours, in all and by model and tier."""

        def read(connection: Connection) -> tuple[Latencies | None, list[Latencies]]:
            found = rollup_reads.sketches(connection, organization_id, span)
            overall = TDigest(max_centroids=CENTROIDS)
            for sketch in found.values():
                overall.merge_inplace(sketch)
            groups = [_latencies(model, tier, sketch) for (model, tier), sketch in found.items()]
            return (_latencies("", 0, overall) if found else None), groups

        return await self._store.read(read)

    async def export(self, organization_id: str, span: Span) -> AsyncIterator[Sequence[UsageRecord]]:
        """Every record of `span`, in pages. Whoever reads slowly keeps no transaction open."""
        after: ExportPosition | None = None
        while True:
            page, after = await self._page(organization_id, span, after)
            if page:
                yield page
            if after is None:
                return

    async def _page(
        self, organization_id: str, span: Span, after: ExportPosition | None
    ) -> tuple[list[UsageRecord], ExportPosition | None]:
        """A page, and where the next one begins (None: this was the last)."""

        def read(connection: Connection) -> tuple[list[UsageRecord], ExportPosition | None]:
            rows = connection.execute(statements.exported(organization_id, span, after, EXPORTED_AT_ONCE)).all()
            full = len(rows) == EXPORTED_AT_ONCE
            return [from_row(row) for row in rows], (rows[-1].occurred_at_ns, rows[-1].id) if full else None

        return await self._store.read(read)


def _latencies(model: str, tier: int, sketch: TDigest) -> Latencies:
    return Latencies(model, tier, sketch.n_values, tuple(sketch.quantile(quantile) for quantile in QUANTILES))
