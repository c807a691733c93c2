"""Bodies of `/governance/reconciliations` and `/analytics/reconciliation`."""

from typing import Annotated

from msgspec import UNSET, Struct, UnsetType

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, described, one_of

Day = Annotated[str, described("A day in UTC, as 2026-11-24.", pattern=r"^\d{4}-\d{2}-\d{2}$")]
FORMATS = ("openai", "anthropic")
FAULTS = ("missing_in_ledger", "missing_in_report", "price", "usage", "amount")


class CostAmount(Struct):
    """An amount of OpenAI's."""

    value: Annotated[float | str, described("Dollars.")]
    currency: Annotated[str, described("`usd`.")]


class CostRow(Struct, kw_only=True):
    """A row of a report. Other fields of the provider's are ignored."""

    amount: Annotated[CostAmount | str, described("OpenAI: an object. Anthropic: cents, as a decimal text.")]
    line_item: Annotated[str | UnsetType | None, described("OpenAI: model and kind of token.")] = UNSET
    project_id: Annotated[str | UnsetType | None, described("OpenAI: the project.")] = UNSET
    api_key_id: Annotated[str | UnsetType | None, described("OpenAI: the key; counts before the project.")] = UNSET
    quantity: Annotated[float | UnsetType | None, described("OpenAI: tokens.")] = UNSET
    currency: Annotated[str | UnsetType, described("Anthropic: `USD`.")] = UNSET
    model: Annotated[str | UnsetType | None, described("Anthropic: the model.")] = UNSET
    token_type: Annotated[str | UnsetType | None, described("Anthropic: the kind of token.")] = UNSET
    cost_type: Annotated[str | UnsetType | None, described("Anthropic: `tokens`, or what else was charged.")] = UNSET
    workspace_id: Annotated[str | UnsetType | None, described("Anthropic: the workspace.")] = UNSET


class CostBucket(Struct, kw_only=True):
    """A day of a report."""

    results: Annotated[list[CostRow], described("What was charged.")]
    start_time: Annotated[int | UnsetType, described("OpenAI: its beginning, seconds since 1970.")] = UNSET
    end_time: Annotated[int | UnsetType, described("OpenAI: its end.")] = UNSET
    starting_at: Annotated[str | UnsetType, described("Anthropic: its beginning, RFC 3339.")] = UNSET
    ending_at: Annotated[str | UnsetType, described("Anthropic: its end.")] = UNSET


class CostReport(Struct, kw_only=True):
    """A page of a provider's cost report as its API gives it. Several may follow each other, or stand in a list."""

    data: Annotated[list[CostBucket], described("The days.")]


class Line(Struct, kw_only=True):
    """A day, a model and a key on which both sides do not agree."""

    day: Day
    provider: Annotated[str, described("As usage records name it; empty: no provider is named for these keys.")]
    model: Annotated[str, described("As the report names it; empty: the charge is of no model.")]
    item: Annotated[
        str, described("`input`, `cache_read`, `cache_write_5m`, `cache_write_1h`, `output`, or what else was charged; "
                       "empty: all of the model's together.")
    ]  # fmt: skip
    keys: Annotated[list[str], described("Keys, projects or workspaces that the report names, at most 5.")]
    fault: Annotated[str, one_of("What is wrong.", *FAULTS)]
    reported: Annotated[Dollars, described("Dollars charged.")]
    ledger: Annotated[Dollars, described("Dollars recorded.")]
    difference: Annotated[Dollars, described("Charged less recorded.")]
    reported_tokens: Annotated[int | None, described("Tokens charged for; null: the report does not say.")]
    ledger_tokens: Annotated[int | None, described("Tokens recorded; null: not split by kind.")]
    calls: Annotated[Count, described("Calls of the model on that day that are recorded.")]


class OrphanView(Struct, kw_only=True):
    """A call that was settled by estimate because the process that made it vanished."""

    organization_id: Annotated[str, described("Who pays.")]
    request_id: Annotated[str, described("Asahi's id of the request.")]
    attempt: Annotated[int, described("Number of the provider call within the request.")]
    model: Annotated[str, described("The model.")]
    cost: Annotated[Dollars, described("Dollars recorded for it.")]
    timestamp: Annotated[Moment, described("When it was made.")]


class ReportUsedView(Struct, kw_only=True):
    """A report that was used."""

    import_id: Annotated[str, described("Names the import.")]
    format: Annotated[str, one_of("Whose report it is.", *FORMATS)]
    imported_at: Annotated[Moment, described("When it was imported.")]
    days: Annotated[Count, described("How many of its days were used.")]


class Reconciliation(Struct, kw_only=True):
    """The ledger beside the provider's bill, over the days that a report covers."""

    first_day: Annotated[str | None, described("The first day compared, UTC; null: no report covers any.")]
    last_day: Annotated[str | None, described("The last day compared.")]
    capture_rate_percent: Annotated[
        float | None, described("100 × the part of `reported` that is recorded / `reported`; null: that is 0.")
    ]
    reported: Annotated[Dollars, described("Dollars charged.")]
    ledger: Annotated[Dollars, described("Dollars recorded.")]
    difference: Annotated[Dollars, described("Charged less recorded; the four figures below are parts of it.")]
    price_difference: Annotated[Dollars, described("Of lines whose tokens agree, but whose amounts do not.")]
    missing_in_ledger: Annotated[Dollars, described("Charged for what is not recorded at all.")]
    missing_in_report: Annotated[Dollars, described("Recorded, and not charged for; counts against `difference`.")]
    rounding: Annotated[Dollars, described("Of the lines that agree.")]
    lines: Annotated[Count, described("Lines compared: days × models × keys, by kind of token where it is known.")]
    agreeing_lines: Annotated[Count, described("Lines that agree.")]
    differing_lines: Annotated[Count, described("Lines that do not.")]
    worst: Annotated[list[Line], described("Lines that do not agree, largest difference first; at most 1000.")]
    orphans: Annotated[Count, described("Calls that were settled by estimate.")]
    orphans_cost: Annotated[Dollars, described("Dollars recorded for them.")]
    orphan_calls: Annotated[list[OrphanView], described("The newest of them, at most 100.")]
    price_unknown_calls: Annotated[Count, described("Calls without a known price; in no sum.")]
    reports: Annotated[list[ReportUsedView], described("The reports that were used.")]


class ReconciliationAnswer(Struct):
    """The ledger beside the provider's bill."""

    data: Annotated[Reconciliation, described("The comparison.")]


class Imported(Struct, kw_only=True):
    """A report that is kept, and the ledger beside it."""

    import_id: Annotated[str, described("Names the import: the same for the same file.")]
    organization_id: Annotated[str | None, described("Whose ledger it is held against; null: the installation's.")]
    known: Annotated[bool, described("Whether it had been imported before; nothing has changed then.")]
    format: Annotated[str, one_of("Whose report it is.", *FORMATS)]
    rows: Annotated[Count, described("Rows of the file.")]
    first_day: Day
    last_day: Day
    reconciliation: Annotated[Reconciliation, described("The ledger beside this report.")]


class ImportAnswer(Struct):
    """An import."""

    data: Annotated[Imported, described("What was imported.")]
