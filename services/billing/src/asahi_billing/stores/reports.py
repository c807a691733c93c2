"""Imported cost reports in the ledger's database, and what the ledger has of the same days."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Connection, Select, and_, case, delete, func, insert, null, select

from asahi.billing.v1.reconciliation_pb2 import ReconciledOrphan
from asahi_billing.domain.cost_reports.comparing import Covered, LedgerGroup, Reported
from asahi_billing.domain.cost_reports.store import Days, Import, Sides
from asahi_billing.stores.desk import Desk
from asahi_billing.stores.report_tables import CHARGES, DAYS, IMPORTS
from asahi_billing.stores.spending_tables import ADJUSTMENTS
from asahi_billing.stores.tables import USAGE_RECORDS
from asahi_core.sql.upserts import insert_of

Item = TypeVar("Item")
_AT_ONCE = 1000
_MOST_ORPHANS = 100
_CALL = ("organization_id", "request_id", "attempt")
_MOST_PROVIDERS = 1000
_DAY_NS = 86_400 * 1_000_000_000
_EPOCH = date(1970, 1, 1)
_r = USAGE_RECORDS.c
_BUCKETS = (_r.input_tokens, _r.cache_read_tokens, _r.cache_write_5m_tokens, _r.cache_write_1h_tokens, _r.output_tokens)


class SqlReports:
    """A `ReportStore`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def known(self, import_id: str) -> Import | None:
        """The import of this name."""
        found = select(IMPORTS).where(IMPORTS.c.id == import_id)

        def read(connection: Connection) -> Import | None:
            row = connection.execute(found).first()
            return None if row is None else _import(row)

        return await self._desk.read(read)

    async def keep(self, made: Import, covered: Sequence[Covered], reported: Iterable[Reported]) -> None:
        """Keeps a report: its charges in parts, and at last the import, before which they count for nothing."""
        await self._desk.write(lambda connection: connection.execute(_charges_of(made.id)))
        for some in _parts(list(reported)):
            await self._desk.write(partial(_add_charges, made.id, some))
        await self._desk.write(lambda connection: _finish(connection, made, covered))

    async def sides(self, organization_id: str, days: Days, import_id: str, steps: Sequence[int]) -> Sides:
        """What reports and the ledger say of `days`."""

        def read(connection: Connection) -> Sides:
            rows = connection.execute(_covered(organization_id, days, import_id)).all()
            covered = [(Covered(row.provider, row.format, row.day), row.import_id) for row in rows]
            ids = sorted({row.import_id for row in rows})
            providers = sorted({row.provider for row in rows})[:_MOST_PROVIDERS]
            imports = [_import(row) for row in connection.execute(select(IMPORTS).where(IMPORTS.c.id.in_(ids)))]
            reported = [_reported(row) for row in connection.execute(_charges(organization_id, days, import_id))]
            within = _within(organization_id, days, providers)
            groups = [_group(row) for row in connection.execute(_groups(within, steps))] if rows else []
            dated = {(one.provider, one.day) for one, _ in covered}
            groups = [group for group in groups if (group.provider, group.day) in dated]
            orphans = connection.execute(_orphan_sums(within)).one()
            calls = [_orphan(row) for row in connection.execute(_orphan_calls(within))]
            return Sides(covered, imports, groups, reported, orphans.calls, int(orphans.nanos or 0), calls)

        return await self._desk.read(read)


def _add_charges(import_id: str, charges: Sequence[Reported], connection: Connection) -> None:
    connection.execute(insert(CHARGES), [{"import_id": import_id, **_columns(one)} for one in charges])


def _finish(connection: Connection, made: Import, covered: Sequence[Covered]) -> None:
    before = {
        row.import_id
        for row in connection.execute(_covered(made.organization_id, Days(made.first_day, made.last_day), ""))
    }
    row = {name: getattr(made, name) for name in IMPORTS.c.keys()}  # noqa: SIM118 - a collection of columns
    connection.execute(insert_of(connection, IMPORTS).on_conflict_do_nothing(index_elements=["id"]), row)
    upsert = insert_of(connection, DAYS)
    upsert = upsert.on_conflict_do_update(
        index_elements=list(DAYS.primary_key), set_={"import_id": upsert.excluded.import_id}
    )
    rows = [
        {
            "organization_id": made.organization_id,
            "day": one.day,
            "provider": one.provider,
            "format": one.format,
            "import_id": made.id,
        }
        for one in covered
    ]
    for some in _parts(rows):
        connection.execute(upsert, some)
    for import_id in sorted(before - {made.id}):
        if connection.execute(select(DAYS.c.day).where(DAYS.c.import_id == import_id).limit(1)).first() is None:
            connection.execute(_charges_of(import_id))


def _charges_of(import_id: str) -> Any:
    return delete(CHARGES).where(CHARGES.c.import_id == import_id)


def _covered(organization_id: str, days: Days, import_id: str) -> Select[Any]:
    statement = select(DAYS).where(
        DAYS.c.organization_id == organization_id, DAYS.c.day >= days.first, DAYS.c.day <= days.last
    )
    return statement.where(DAYS.c.import_id == import_id) if import_id else statement


def _charges(organization_id: str, days: Days, import_id: str) -> Select[Any]:
    """Charges of the imports that count for their days."""
    counts = and_(
        DAYS.c.import_id == CHARGES.c.import_id, DAYS.c.day == CHARGES.c.day, DAYS.c.provider == CHARGES.c.provider
    )
    statement = (
        select(CHARGES)
        .join(DAYS, counts)
        .where(DAYS.c.organization_id == organization_id, DAYS.c.day >= days.first, DAYS.c.day <= days.last)
    )
    return statement.where(DAYS.c.import_id == import_id) if import_id else statement


def _within(organization_id: str, days: Days, providers: Sequence[str]) -> tuple[Any, ...]:
    own = () if not organization_id else (_r.organization_id == organization_id,)
    end = date.fromisoformat(days.last) + timedelta(days=1)
    return (
        *own,
        _r.occurred_at_ns >= _start_ns(date.fromisoformat(days.first)),
        _r.occurred_at_ns < _start_ns(end),
        _r.attempt > 0,
        _r.provider.in_(providers),
    )


def _groups(within: tuple[Any, ...], steps: Sequence[int]) -> Select[Any]:
    prompt = _r.input_tokens + _r.cache_read_tokens + _r.cache_write_5m_tokens + _r.cache_write_1h_tokens
    over = case(*((prompt > step, step) for step in sorted(steps, reverse=True)), else_=-1)
    plain = case((_r.usage_details.is_(null()), 1), else_=0)
    day = _r.occurred_at_ns // _DAY_NS
    added = func.sum(ADJUSTMENTS.c.nanos, type_=BigInteger).label("nanos")
    repriced = select(*(ADJUSTMENTS.c[name] for name in _CALL), added)
    repriced_calls = repriced.group_by(*(ADJUSTMENTS.c[name] for name in _CALL)).subquery()
    keys = [_r.organization_id, day.label("day"), _r.provider, _r.model, over.label("over"), plain.label("plain")]
    return (
        select(
            *keys,
            func.count().label("calls"),
            *(func.sum(column, type_=BigInteger).label(column.name) for column in _BUCKETS),
            func.sum(
                _r.cost_nanos
                - case((_r.purpose == "", _r.cost_overhead_nanos), else_=0)
                + func.coalesce(repriced_calls.c.nanos, 0),
                type_=BigInteger,
            ).label("nanos"),
            func.sum(case((and_(_r.price_unknown, repriced_calls.c.nanos.is_(None)), 1), else_=0)).label("unknown"),
        )
        .select_from(
            USAGE_RECORDS.outerjoin(repriced_calls, and_(*(repriced_calls.c[name] == _r[name] for name in _CALL)))
        )
        .where(*within)
        .group_by(_r.organization_id, day, _r.provider, _r.model, over, plain)
    )


def _orphan_sums(within: tuple[Any, ...]) -> Select[int, Any]:
    nanos = func.sum(_r.cost_nanos, type_=BigInteger).label("nanos")
    return select(func.count().label("calls"), nanos).where(*within, _r.orphan)


def _orphan_calls(within: tuple[Any, ...]) -> Select[Any]:
    columns = (_r.organization_id, _r.request_id, _r.attempt, _r.model, _r.cost_nanos, _r.occurred_at_ns)
    newest = (_r.occurred_at_ns.desc(), _r.id.desc())
    return select(*columns).where(*within, _r.orphan).order_by(*newest).limit(_MOST_ORPHANS)


def _parts(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _start_ns(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 1_000_000_000


def _import(row: Any) -> Import:
    return Import(*(getattr(row, name) for name in Import.__dataclass_fields__))


def _columns(one: Reported) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Reported.__dataclass_fields__}


def _reported(row: Any) -> Reported:
    return Reported(*(getattr(row, name) for name in Reported.__dataclass_fields__))


def _group(row: Any) -> LedgerGroup:
    return LedgerGroup(
        organization_id=row.organization_id,
        day=(_EPOCH + timedelta(days=row.day)).isoformat(),
        provider=row.provider,
        model=row.model,
        over=row.over,
        is_plain=bool(row.plain),
        calls=row.calls,
        tokens=(
            *(int(row.input_tokens), int(row.cache_read_tokens), int(row.cache_write_5m_tokens)),
            *(int(row.cache_write_1h_tokens), int(row.output_tokens)),
        ),
        cost_nanos=int(row.nanos),
        price_unknown_calls=int(row.unknown),
    )


def _orphan(row: Any) -> ReconciledOrphan:
    orphan = ReconciledOrphan(
        organization_id=row.organization_id,
        request_id=row.request_id,
        attempt=row.attempt,
        model=row.model,
        cost_nanos=row.cost_nanos,
    )
    orphan.occurred_at.FromNanoseconds(row.occurred_at_ns)
    return orphan
