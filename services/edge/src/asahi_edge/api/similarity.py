"""What tier 2 found, in words for `cache_explanation`, and what audits measured of it, for analytics."""

from asahi.cache.v1.cache_pb2 import GetSemanticReportResponse, SemanticOutcome, SemanticVerdict
from asahi_edge.api.schemas.analytics import SimilarPerformance, StratumPerformance

_NEAREST = {
    SemanticOutcome.SEMANTIC_OUTCOME_SERVED: "It is served",
    SemanticOutcome.SEMANTIC_OUTCOME_AUDITED: "It could be served and is audited instead (audited)",
    SemanticOutcome.SEMANTIC_OUTCOME_INSUFFICIENT_EVIDENCE: (
        "It is not served, for audits do not show yet that answers as probable keep the bound (insufficient_evidence)"
    ),
    SemanticOutcome.SEMANTIC_OUTCOME_BOUND_EXCEEDED: (
        "It is not served, for audits show that answers as probable do not keep the bound (bound_exceeded)"
    ),
    SemanticOutcome.SEMANTIC_OUTCOME_IMPROBABLE: "It is not served, for it hardly answers this question (improbable)",
}


def similarity_explanation(verdict: SemanticVerdict) -> str:
    """One or two sentences with the figures that decided; empty: there is nothing to say."""
    match verdict.outcome:
        case SemanticOutcome.SEMANTIC_OUTCOME_UNSPECIFIED | SemanticOutcome.SEMANTIC_OUTCOME_UNAVAILABLE:
            return verdict.detail
        case SemanticOutcome.SEMANTIC_OUTCOME_NO_NEIGHBOUR:
            return "No similar question is kept in this scope either."
    age_s = verdict.neighbour_age.ToNanoseconds() / 1e9
    against = f"; against it: {', '.join(verdict.against)}" if verdict.against else ""
    nearest = (
        f"The nearest similar question was answered {age_s:.0f} s ago (cosine {verdict.cosine:.3f}); its answer serves "
        f"with probability {verdict.probability:.4f}{against}."
    )
    if verdict.outcome == SemanticOutcome.SEMANTIC_OUTCOME_IMPROBABLE:
        return f"{nearest} {_NEAREST[verdict.outcome]}."
    evidence = (
        f"{verdict.wrong} of {verdict.audits} audits were wrong ({verdict.error_low:.4f}–{verdict.error_high:.4f}, "
        f"95 %), the bound is {verdict.false_hit_bound:g}, audit probability {verdict.audit_probability:.3f}"
    )
    return f"{nearest} {_NEAREST[verdict.outcome]}: {evidence}. {verdict.detail}".rstrip()


def similar_performance(measured: GetSemanticReportResponse, bound: float) -> SimilarPerformance:
    """What audits measured, as callers see it."""
    known = measured.HasField("error")
    return SimilarPerformance(
        false_hit_bound=bound,
        error_low=measured.error_low if known else None,
        error_high=measured.error_high if known else None,
        judge_misses=measured.judge_misses,
        reported_wrong=measured.reported_wrong,
        strata=[
            StratumPerformance(
                least_probability=one.least_probability,
                state=one.state,
                audits=one.audits,
                wrong=one.wrong,
                error_low=one.error_low,
                error_high=one.error_high,
                served=one.served,
            )
            for one in measured.strata
        ],
    )
