"""`GET /analytics/reconciliation`: the ledger beside the provider's bill, of the key's organisation."""

from fastapi import APIRouter, Request, Response

from asahi.billing.v1 import reconciliation_pb2 as pb
from asahi_edge.api.json import Dollars, json_response
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.periods import From, Period, To, asked
from asahi_edge.api.schemas.reconciliation import (
    Line,
    OrphanView,
    Reconciliation,
    ReconciliationAnswer,
    ReportUsedView,
)
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339

router = APIRouter(prefix="/analytics", tags=["Analytics"])


@router.get(
    "/reconciliation",
    **documented(
        summary="The ledger beside the provider's bill", answer=ReconciliationAnswer, errors=(400, 401, 403, 503, 504)
    ),
)
async def reconciliation(request: Request, period: Period = None, start: From = None, end: To = None) -> Response:
    """The ledger beside the imported cost reports, by whole days (UTC) that the period touches; default 24h."""
    time = await asked(request, period, start, end, "24h")
    reconciliations = services_of(request).reconciliations
    found = await reconciliations.reconciliation(time.verdict.organization_id, time.start, time.end)
    return json_response(ReconciliationAnswer(reconciliation_view(found)))


def format_name(value: pb.ReportFormat.ValueType) -> str:
    """`openai`, `anthropic`."""
    return pb.ReportFormat.Name(value).removeprefix("REPORT_FORMAT_").lower()


def reconciliation_view(found: pb.Reconciliation) -> Reconciliation:
    """A comparison as callers see it."""
    return Reconciliation(
        first_day=found.first_day or None,
        last_day=found.last_day or None,
        capture_rate_percent=100 * found.captured_nanos / found.reported_nanos if found.reported_nanos else None,
        reported=Dollars(found.reported_nanos),
        ledger=Dollars(found.ledger_nanos),
        difference=Dollars(found.reported_nanos - found.ledger_nanos),
        price_difference=Dollars(found.price_difference_nanos),
        missing_in_ledger=Dollars(found.missing_in_ledger_nanos),
        missing_in_report=Dollars(found.missing_in_report_nanos),
        rounding=Dollars(found.rounding_nanos),
        lines=found.lines,
        agreeing_lines=found.agreeing_lines,
        differing_lines=found.differing_lines,
        worst=[_line(line) for line in found.worst],
        orphans=found.orphans,
        orphans_cost=Dollars(found.orphan_nanos),
        orphan_calls=[_orphan(one) for one in found.orphan_calls],
        price_unknown_calls=found.price_unknown_calls,
        reports=[
            ReportUsedView(
                import_id=used.import_id,
                format=format_name(used.format),
                imported_at=rfc3339(used.imported_at),
                days=used.days,
            )
            for used in found.reports
        ],
    )


def _line(line: pb.ReconciliationLine) -> Line:
    return Line(
        day=line.day,
        provider=line.provider,
        model=line.model,
        item=line.item,
        keys=list(line.keys),
        fault=pb.LineFault.Name(line.fault).removeprefix("LINE_FAULT_").lower(),
        reported=Dollars(line.reported_nanos),
        ledger=Dollars(line.ledger_nanos),
        difference=Dollars(line.reported_nanos - line.ledger_nanos),
        reported_tokens=line.reported_tokens if line.HasField("reported_tokens") else None,
        ledger_tokens=line.ledger_tokens if line.HasField("ledger_tokens") else None,
        calls=line.calls,
    )


def _orphan(one: pb.ReconciledOrphan) -> OrphanView:
    return OrphanView(
        organization_id=one.organization_id,
        request_id=one.request_id,
        attempt=one.attempt,
        model=one.model,
        cost=Dollars(one.cost_nanos),
        timestamp=rfc3339(one.occurred_at),
    )
