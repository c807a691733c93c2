"""Tier 2 over gRPC: questions, verdicts, what callers say of hits, and what audits have measured."""

from google.protobuf.duration_pb2 import Duration

from asahi.cache.v1 import cache_pb2 as pb
from asahi_cache.domain.embedding import Embedder
from asahi_cache.domain.rules import check_key, check_organization
from asahi_cache.domain.semantic.decision import STRATA, State
from asahi_cache.domain.semantic.evidence_log import Evidence
from asahi_cache.domain.semantic.neighbours import StoreUnavailable
from asahi_cache.domain.semantic.report import measured
from asahi_cache.domain.semantic.similar import AskedQuestion, Finding, NoAnswer, SimilarAnswers, outcome_of
from asahi_cache.domain.tiers import Selection
from asahi_core.errors import InvalidRequest, ServiceUnavailable

MOST_CHARACTERS = 2000
_SCOPE_BYTES = 32
_RETRY_AFTER_S = 1.0


class SemanticDesk:
    """Answers for tier 2, also where there is none."""

    def __init__(self, similar: SimilarAnswers | None, evidence: Evidence, embedder: Embedder, off: str) -> None:
        """`off`: why there is no `similar`, a clause."""
        self._similar = similar
        self._evidence = evidence
        self._embedder = embedder
        self._off = off

    async def look_up(self, request: pb.LookupRequest, max_age_s: float | None, response: pb.LookupResponse) -> bool:
        """Fills in what tier 2 finds; whether it answers."""
        asked = _asked(request.organization_id, request.fingerprint, request.semantic, max_age_s)
        if self._similar is None:
            response.semantic.outcome = pb.SemanticOutcome.SEMANTIC_OUTCOME_UNSPECIFIED
            response.semantic.detail = f"Tier 2 is off: {self._off}."
            return False
        finding = await self._similar.look_up(asked)
        response.embedding = finding.embedding
        if asked.false_hit_bound:
            _tell(finding, asked.false_hit_bound, response.semantic)
        served = finding.served
        if served is not None:
            response.hit.tier = 2
            response.hit.entry.MergeFromString(served.entry)
            response.hit.ttl.FromNanoseconds(int(served.ttl_s * 1e9))
        return served is not None

    def learn(self, request: pb.StoreRequest, served_s: float) -> None:
        """Takes an answer that tier 1 keeps for `served_s`."""
        if self._similar is not None and request.HasField("semantic") and served_s > 0:
            asked = _asked(request.organization_id, request.fingerprint, request.semantic, None)
            if asked.false_hit_bound:
                self._similar.learn(asked, request.entry, served_s)

    async def drop(self, selection: Selection) -> None:
        """Drops the questions of answers that were dropped.

        Raises:
            ServiceUnavailable: they may still be there; none of the answers is.
        """
        if self._similar is None:
            return
        try:
            await self._similar.drop(selection)
        except StoreUnavailable as error:
            message = f"The answers are dropped, but the questions of tier 2 could not be: {error}. Send it again."
            raise ServiceUnavailable(message, retry_after_s=_RETRY_AFTER_S) from error

    async def report_hit(self, request: pb.ReportHitRequest) -> pb.ReportHitResponse:
        """A caller's word."""
        check_organization(request.organization_id)
        counted = await self._evidence.report(request.organization_id, request.request_id, correct=request.correct)
        return pb.ReportHitResponse(counted=counted)

    async def report(self, request: pb.GetSemanticReportRequest) -> pb.GetSemanticReportResponse:
        """What audits have measured."""
        check_organization(request.organization_id)
        _check_bound(request.false_hit_bound, least=1e-9, param="false_hit_bound")
        ledger = await self._evidence.ledger(request.organization_id, request.false_hit_bound)
        shared = await self._evidence.shared(request.organization_id, request.false_hit_bound)
        response = pb.GetSemanticReportResponse(
            judge_misses=self._evidence.judge_misses, reported_wrong=ledger.figures.reported_wrong
        )
        for number in range(len(STRATA) + 1):
            evidence = ledger.evidence(number)
            low, high = evidence.interval()
            response.strata.add(
                least_probability=STRATA[number - 1][0] if number else 1.0,
                state=ledger.known(number, shared).value,
                audits=evidence.audits,
                wrong=evidence.wrong,
                error_low=low,
                error_high=high,
                served=ledger.served(number),
            )
        error = measured(ledger, shared)
        if error is not None:
            response.error, response.error_low, response.error_high = error
        return response

    async def erase(self, request: pb.EraseEvidenceRequest) -> pb.EraseEvidenceResponse:
        """Forgets what audits have measured."""
        check_organization(request.organization_id)
        return pb.EraseEvidenceResponse(dropped=await self._evidence.erase(request.organization_id))

    def condition(self) -> pb.GetConditionResponse.Part:
        """How tier 2 is."""
        part = pb.GetConditionResponse.Part(name="semantic", works=True)
        if self._similar is None:
            part.detail = f"off: {self._off}"
        elif self._similar.trouble:
            part.works = False
            part.detail = f"similar questions ask providers: {self._similar.trouble}"
        elif not self._evidence.reachable:
            part.works = False
            part.detail = "decides by what it knew: the database of its evidence does not answer"
        else:
            part.detail = f"serves similar questions, embedded by {self._embedder.model}"
        return part


def _asked(
    organization_id: str, fingerprint: bytes, question: pb.SemanticQuestion, max_age_s: float | None
) -> AskedQuestion:
    """The question as the domain has it.

    Raises:
        InvalidRequest: it is none.
    """
    check_key(organization_id, fingerprint)
    if not 0 < len(question.text) <= MOST_CHARACTERS:
        message = f"semantic.text has {len(question.text)} characters; it takes 1 to {MOST_CHARACTERS}."
        raise InvalidRequest(message, param="semantic.text")
    if len(question.scope) != _SCOPE_BYTES:
        message = f"semantic.scope has {len(question.scope)} bytes; a SHA-256 has {_SCOPE_BYTES}."
        raise InvalidRequest(message, param="semantic.scope")
    _check_bound(question.false_hit_bound, least=0.0, param="semantic.false_hit_bound")
    return AskedQuestion(
        organization_id=organization_id,
        fingerprint=fingerprint,
        scope=question.scope,
        text=question.text,
        request_id=question.request_id,
        false_hit_bound=question.false_hit_bound,
        embedding_wanted=question.embedding_wanted,
        max_age_s=max_age_s,
    )


def _check_bound(bound: float, *, least: float, param: str) -> None:
    if not least <= bound < 1:
        raise InvalidRequest(f"{param} is {bound:g}; it must be a share below 1.", param=param)


_OUTCOMES = {
    "served": pb.SemanticOutcome.SEMANTIC_OUTCOME_SERVED,
    "audited": pb.SemanticOutcome.SEMANTIC_OUTCOME_AUDITED,
    "improbable": pb.SemanticOutcome.SEMANTIC_OUTCOME_IMPROBABLE,
    State.INSUFFICIENT_EVIDENCE.value: pb.SemanticOutcome.SEMANTIC_OUTCOME_INSUFFICIENT_EVIDENCE,
    State.BOUND_EXCEEDED.value: pb.SemanticOutcome.SEMANTIC_OUTCOME_BOUND_EXCEEDED,
    NoAnswer.NO_NEIGHBOUR.value: pb.SemanticOutcome.SEMANTIC_OUTCOME_NO_NEIGHBOUR,
    NoAnswer.UNAVAILABLE.value: pb.SemanticOutcome.SEMANTIC_OUTCOME_UNAVAILABLE,
}


def _tell(finding: Finding, bound: float, verdict: pb.SemanticVerdict) -> None:
    """Writes what was found into `verdict`."""
    verdict.false_hit_bound = bound
    verdict.detail = finding.detail
    decision, candidate = finding.decision, finding.candidate
    if decision is None or candidate is None:
        verdict.outcome = _OUTCOMES[(finding.no_answer or NoAnswer.NO_NEIGHBOUR).value]
        return
    verdict.outcome = _OUTCOMES[outcome_of(decision)]
    verdict.probability = decision.probability
    verdict.cosine = candidate.judgement.cosine
    verdict.neighbour_age.CopyFrom(_duration(finding.age_s))
    verdict.against.extend(candidate.judgement.against)
    verdict.audits, verdict.wrong = decision.audits, decision.wrong
    verdict.error_low, verdict.error_high = decision.interval()
    verdict.audit_probability = decision.audit_probability


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
