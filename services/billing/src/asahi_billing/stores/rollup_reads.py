"""Reading figures of a time: whole days and hours from rollups, what is left at its two ends from the records."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastdigest import TDigest
from sqlalchemy import BigInteger, ColumnElement, Connection, Float, Select, cast, func, select, union_all

from asahi_billing.domain.figures import FIGURES, Figures
from asahi_billing.domain.rollups import ALL, DAY_NS, HOUR_NS, PLAIN, REPRICING, TAG, TECHNIQUE, bounded
from asahi_billing.domain.store import Span
from asahi_billing.stores import statements
from asahi_billing.stores.rollup_tables import ROLLUPS, SKETCHES
from asahi_billing.stores.tables import USAGE_RECORDS

_LATEST_NS = 9_000_000_000 * 10**9 // HOUR_NS * HOUR_NS
"""Records are never younger."""
_NEVER = Span(0, 0)


def by_value(connection: Connection, organization_id: str, dimension: str, span: Span) -> dict[str, Figures]:
    """The figures of `span` by the values of a dimension, exact to the nanosecond of its ends."""
    parts = _parts(connection, organization_id, span)
    found: dict[str, Figures] = {}
    for row in connection.execute(_rollups(organization_id, dimension, parts)):
        _collect(found, row)
    for edge in parts.edges:
        _collect_records(connection, found, organization_id, dimension, edge)
    return found


def by_time(connection: Connection, organization_id: str, span: Span, *, days: bool) -> dict[int, Figures]:
    """The figures of `span` by the beginning (ns since 1970) of its hours, or with `days` of its full days.

    With `days`, what is before and after these is by hour. The first and the last hour hold only what is within `span`;
    those without records are left out.
    """
    parts = _parts(connection, organization_id, span)
    found: dict[int, Figures] = {}
    columns = (ROLLUPS.c.start_ns, *(ROLLUPS.c[name] for name in FIGURES))
    full_days, hours = _days(parts.hours) if days else (_NEVER, (parts.hours,))
    for grain, part in ((24, full_days), *((1, one) for one in hours)):
        whole = select(*columns).where(*_of(ROLLUPS, organization_id, grain, part), ROLLUPS.c.dimension == ALL)
        for row in connection.execute(whole):
            found[row.start_ns] = Figures(*row[1:])
    for edge in parts.edges:
        figures = by_edge(connection, organization_id, edge)
        if figures.calls or figures.requests or figures.errors:
            start_ns = edge.start_ns - edge.start_ns % HOUR_NS
            found.setdefault(start_ns, Figures()).add(figures)
    return found


def by_edge(connection: Connection, organization_id: str, span: Span) -> Figures:
    """The figures of `span` from the records alone."""
    found: dict[str, Figures] = {}
    _collect_records(connection, found, organization_id, ALL, span)
    return found.get("", Figures())


def sketches(connection: Connection, organization_id: str, span: Span) -> dict[tuple[str, int], TDigest]:
    """The latencies of the hours that `span` touches, by model and tier; `span` is of full hours."""
    days, hours = _days(span)
    columns = (SKETCHES.c.model, SKETCHES.c.tier, SKETCHES.c.sketch)
    found: dict[tuple[str, int], TDigest] = {}
    for grain, part in ((24, days), *((1, one) for one in hours)):
        for model, tier, sketch in connection.execute(
            select(*columns).where(*_of(SKETCHES, organization_id, grain, part))
        ):
            read = TDigest.from_bytes(sketch)
            if (model, tier) in found:
                found[model, tier].merge_inplace(read)
            else:
                found[model, tier] = read
    return found


def outwards(span: Span) -> Span:
    """The full hours that `span` touches."""
    start_ns, end_ns = _clamped(span)
    return Span(start_ns - start_ns % HOUR_NS, -(-end_ns // HOUR_NS) * HOUR_NS)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A span, split: full hours, and what is left before and after them."""

    hours: Span
    edges: tuple[Span, ...]


def _parts(connection: Connection, organization_id: str, span: Span) -> _Parts:
    start_ns, end_ns = _clamped(span)
    first, last = -(-start_ns // HOUR_NS) * HOUR_NS, end_ns - end_ns % HOUR_NS
    if end_ns > last:
        # The present hour is whole when nothing is younger than the end: mostly, for the end is mostly now.
        rest = Span(end_ns, last + HOUR_NS)
        if connection.execute(statements.any_within(organization_id, rest)).first() is None:
            end_ns = last = last + HOUR_NS
    if first > last:
        return _Parts(_NEVER, (Span(start_ns, end_ns),))
    edges = (Span(start_ns, first), Span(last, end_ns))
    return _Parts(Span(first, last), tuple(edge for edge in edges if edge.start_ns < edge.end_ns))


def _clamped(span: Span) -> tuple[int, int]:
    return min(max(span.start_ns, 0), _LATEST_NS), min(max(span.end_ns, 0), _LATEST_NS)


def _days(hours: Span) -> tuple[Span, tuple[Span, ...]]:
    """The full days of full hours, and the hours before and after."""
    first, last = -(-hours.start_ns // DAY_NS) * DAY_NS, hours.end_ns - hours.end_ns % DAY_NS
    if first >= last:
        return _NEVER, (hours,)
    return Span(first, last), (Span(hours.start_ns, first), Span(last, hours.end_ns))


def _rollups(organization_id: str, dimension: str, parts: _Parts) -> Select[Any]:
    """Value and sums of the full hours, read from days where these are full, too."""
    days, hours = _days(parts.hours)
    columns = (ROLLUPS.c.value, *(ROLLUPS.c[name] for name in FIGURES))
    rows = union_all(
        *(
            select(*columns).where(*_of(ROLLUPS, organization_id, grain, part), ROLLUPS.c.dimension == dimension)
            for grain, part in ((24, days), *((1, one) for one in hours))
        )
    ).subquery()
    return select(rows.c.value, *(_sum(rows.c[name]).label(name) for name in FIGURES)).group_by(rows.c.value)


def _of(table: Any, organization_id: str, grain: int, span: Span) -> Iterator[Any]:
    yield table.c.organization_id == organization_id
    yield table.c.hours == grain
    yield table.c.start_ns >= span.start_ns
    yield table.c.start_ns < span.end_ns


def _collect_records(
    connection: Connection, found: dict[str, Figures], organization_id: str, dimension: str, span: Span
) -> None:
    """Adds the figures of the records, and of their repricings, by the values of a dimension."""
    for statement in _records(organization_id, dimension, span):
        for row in connection.execute(statement):
            _collect(found, row)


def _records(organization_id: str, dimension: str, span: Span) -> tuple[Select[Any], Select[Any]]:
    if dimension == TECHNIQUE:
        return (
            statements.savings(organization_id, span),
            statements.adjusted_savings(organization_id, span, REPRICING),
        )
    by: ColumnElement[Any] | None = None
    if dimension.startswith(TAG):
        by = USAGE_RECORDS.c.tags[dimension.removeprefix(TAG)].as_string()
    elif dimension != ALL:
        by = USAGE_RECORDS.c[PLAIN[dimension]]
    return statements.totals(organization_id, span, by), statements.adjustments(organization_id, span, by)


def _collect(found: dict[str, Figures], row: Any) -> None:
    """Adds a row of sums; its first column is the value. PostgreSQL's sums of integers are decimals."""
    sums = {name: value for name, value in row._mapping.items() if name != "value" and value}
    numbers = ((name, float(value) if name == "latency_ms" else int(value)) for name, value in sums.items())
    found.setdefault(bounded(row.value), Figures()).add_parts(list(numbers))


def _sum(column: Any) -> Any:
    return cast(func.sum(column), Float if column.key == "latency_ms" else BigInteger)
