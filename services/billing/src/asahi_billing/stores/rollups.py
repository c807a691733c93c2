"""Writing rollups and sketches, in the transaction that adds the records they are of.

The organisations are locked (`postings.lock`): what is read here cannot change before the commit.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from fastdigest import TDigest
from sqlalchemy import Connection, bindparam, func, literal, select, tuple_

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.figures import FIGURES, Figures
from asahi_billing.domain.rollups import (
    ALL,
    GRAINS,
    MOST_TAG_NAMES,
    MOST_VALUES,
    OTHER,
    TAG,
    TAG_NAMES,
    Additions,
    RollupKey,
    SketchKey,
    day_of,
)
from asahi_billing.stores.rollup_tables import ROLLUPS, SKETCHES
from asahi_billing.stores.rows import from_row
from asahi_billing.stores.tables import USAGE_RECORDS
from asahi_core.sql.upserts import insert_into

CENTROIDS = 100
"""Of a sketch: 1.6 KB, and quantiles within 0.2 points of rank."""
_AT_ONCE = 1000
_BACKFILLED_AT_ONCE = 5000
_Day = tuple[str, str, int]
"""Organisation, dimension, midnight."""
# Statements are made once: making one costs more than to run it.
_KNOWN = select(*(USAGE_RECORDS.c[name] for name in ("organization_id", "request_id", "attempt", "answered"))).where(
    USAGE_RECORDS.c.organization_id.in_(bindparam("organizations", expanding=True)),
    USAGE_RECORDS.c.request_id.in_(bindparam("requests", expanding=True)),
)
_PRESENT = select(*(ROLLUPS.c[name] for name in ("organization_id", "dimension", "start_ns", "value"))).where(
    ROLLUPS.c.organization_id == bindparam("organization_id"),
    ROLLUPS.c.dimension.in_(bindparam("dimensions", expanding=True)),
    ROLLUPS.c.hours == 24,
    ROLLUPS.c.start_ns == bindparam("start_ns"),
    ROLLUPS.c.value.in_(bindparam("values", expanding=True)),
)
_SKETCH_KEY = [SKETCHES.c[name] for name in SketchKey._fields]
_SKETCHES = select(*_SKETCH_KEY, SKETCHES.c.sketch).where(tuple_(*_SKETCH_KEY).in_(bindparam("keys", expanding=True)))


def save(connection: Connection, additions: Additions) -> None:
    """Adds to rollups and sketches; values beyond what a day may have are summed up as `OTHER`."""
    if not additions.rollups:
        return
    names = _Names(connection, additions)
    hourly: dict[RollupKey, Figures] = {}
    for key, figures in additions.rollups.items():
        named = names.of(key)
        if named is not None:
            _add(hourly, named, figures)
    daily: dict[RollupKey, Figures] = {}
    for key, figures in hourly.items():
        _add(daily, key._replace(hours=24, start_ns=day_of(key.start_ns)), figures)
    rows = [
        key._asdict() | {name: getattr(figures, name) for name in FIGURES}
        for key, figures in sorted((hourly | daily).items())
    ]
    connection.execute(addition(connection.dialect.name), rows)
    _save_sketches(connection, additions, names)


def backfill(connection: Connection) -> None:
    """Makes rollups and sketches anew from all records as they were then, without purposes, in constant memory."""
    connection.execute(ROLLUPS.delete())
    connection.execute(SKETCHES.delete())
    last = 0
    columns: list[Any] = [literal("").label(c.name) if c.name == "purpose" else c for c in USAGE_RECORDS.c]
    while True:
        page = select(*columns).where(USAGE_RECORDS.c.id > last).order_by(USAGE_RECORDS.c.id)
        rows = connection.execute(page.limit(_BACKFILLED_AT_ONCE)).all()
        if not rows:
            return
        additions = Additions()
        for row in rows:
            additions.add(from_row(row), repeats_answer=row.repeats_answer)
        save(connection, additions)
        last = rows[-1].id


def known(
    connection: Connection, records: Iterable[UsageRecord]
) -> tuple[set[tuple[str, str, int]], set[tuple[str, str]]]:
    """Of the records' requests: the calls that are recorded, and the requests that are answered."""
    organizations = list({record.organization_id for record in records})
    requests = sorted({record.request_id for record in records})
    calls, answered = set(), set()
    for some in _parts(requests):
        for row in connection.execute(_KNOWN, {"organizations": organizations, "requests": some}):
            calls.add((row.organization_id, row.request_id, row.attempt))
            if row.answered:
                answered.add((row.organization_id, row.request_id))
    return calls, answered


class _Names:
    """Which values have a rollup of their own on their day: those that have one already, and the first to come."""

    def __init__(self, connection: Connection, additions: Additions) -> None:
        wanted: dict[_Day, set[str]] = defaultdict(set)
        for key in additions.rollups:
            if key.dimension != ALL:
                wanted[_day(key)].add(key.value)
        self._own: dict[_Day, set[str]] = defaultdict(set)
        for organization_id, dimension, start_ns, value in _present(connection, wanted):
            self._own[organization_id, dimension, start_ns].add(value)
        new = {day: values - self._own[day] for day, values in wanted.items() if values - self._own[day]}
        counts = _counts(connection, new)
        for day, values in sorted(new.items()):
            most = MOST_TAG_NAMES if day[1] == TAG_NAMES else MOST_VALUES
            self._own[day].update(sorted(values)[: max(0, most - counts.get(day, 0))])

    def of(self, key: RollupKey) -> RollupKey | None:
        """The rollup that `key` is added to; None: none, for it is of a tag whose name has none of its own."""
        if key.dimension == ALL:
            return key
        day = _day(key)
        if key.dimension.startswith(TAG):
            name = key.dimension.removeprefix(TAG)
            if name not in self._own[key.organization_id, TAG_NAMES, day[2]]:
                return None
        return key if key.value in self._own[day] else key._replace(value=OTHER)

    def model(self, key: SketchKey) -> str:
        """The model that a sketch is of."""
        own = self._own[key.organization_id, "model", day_of(key.start_ns)]
        return key.model if key.model in own else OTHER


def _day(key: RollupKey) -> _Day:
    return key.organization_id, key.dimension, day_of(key.start_ns)


def _present(connection: Connection, wanted: dict[_Day, set[str]]) -> Iterator[Any]:
    """Those of `wanted` that have a rollup, and maybe others of the same days."""
    days: dict[tuple[str, int], dict[str, set[str]]] = defaultdict(dict)
    for (organization_id, dimension, start_ns), values in wanted.items():
        days[organization_id, start_ns][dimension] = values
    for (organization_id, start_ns), dimensions in sorted(days.items()):
        for some in _parts(sorted(set().union(*dimensions.values()))):
            day = {"organization_id": organization_id, "start_ns": start_ns}
            yield from connection.execute(_PRESENT, day | {"dimensions": sorted(dimensions), "values": some})


def _counts(connection: Connection, days: dict[_Day, set[str]]) -> dict[_Day, int]:
    """How many values these days have, `OTHER` not among them."""
    return {
        day: connection.execute(
            select(func.count()).select_from(ROLLUPS).where(*_of_day(*day), ROLLUPS.c.value != OTHER)
        ).scalar_one()
        for day in days
    }


def _of_day(organization_id: str, dimension: str, start_ns: int) -> tuple[Any, ...]:
    return (
        ROLLUPS.c.organization_id == organization_id,
        ROLLUPS.c.dimension == dimension,
        ROLLUPS.c.hours == 24,
        ROLLUPS.c.start_ns == start_ns,
    )


def _save_sketches(connection: Connection, additions: Additions, names: _Names) -> None:
    latencies: dict[SketchKey, list[float]] = defaultdict(list)
    for key, values in additions.latencies.items():
        named = key._replace(model=names.model(key))
        for hours in GRAINS:
            start_ns = named.start_ns if hours == 1 else day_of(named.start_ns)
            latencies[named._replace(hours=hours, start_ns=start_ns)] += values
    if not latencies:
        return
    kept = _kept_sketches(connection, sorted(latencies))
    rows = []
    for key, values in sorted(latencies.items()):
        sketch = TDigest.from_values(values, max_centroids=CENTROIDS)
        if key in kept:
            sketch.merge_inplace(TDigest.from_bytes(kept[key]))
        rows.append(key._asdict() | {"sketch": sketch.to_bytes()})
    connection.execute(_keeping_sketches(connection.dialect.name), rows)


def _kept_sketches(connection: Connection, keys: Sequence[SketchKey]) -> dict[SketchKey, bytes]:
    kept = {}
    for some in _parts(keys):
        for row in connection.execute(_SKETCHES, {"keys": some}):
            kept[SketchKey(*row[:-1])] = row.sketch
    return kept


@cache
def addition(dialect: str) -> Any:
    """Inserts rows of figures, adding them to those that are there."""
    insert = insert_into(ROLLUPS, dialect)
    added = {name: ROLLUPS.c[name] + insert.excluded[name] for name in FIGURES}
    return insert.on_conflict_do_update(index_elements=list(ROLLUPS.primary_key), set_=added)


@cache
def _keeping_sketches(dialect: str) -> Any:
    insert = insert_into(SKETCHES, dialect)
    changed = {"sketch": insert.excluded["sketch"]}
    return insert.on_conflict_do_update(index_elements=list(SKETCHES.primary_key), set_=changed)


def _add(rollups: dict[RollupKey, Figures], key: RollupKey, figures: Figures) -> None:
    found = rollups.get(key)
    if found is None:
        rollups[key] = found = Figures()
    found.add(figures)


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
