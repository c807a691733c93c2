"""Which model answers, and why. Hard constraints first, then quality, then the lowest expected cost.

Read `decide` from top to bottom. It is a function of what it is given: the same question at the same time, with the
same catalog, prices, speeds and health, is decided alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from asahi.router.v1 import router_pb2 as pb
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest, PriceUnknown
from asahi_router.domain.candidates import (
    NOTHING_KNOWN,
    Candidate,
    Constraint,
    Known,
    Limits,
    Scale,
    limits_of,
    speaks,
    weigh,
)
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.escalation import Checks, Risk, escalating, escalating_to, is_checked
from asahi_router.domain.evidence import Evidence, evidence_on
from asahi_router.domain.examples import Chance
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import Features, read_features
from asahi_router.domain.goal import NO_GOAL, Goal, goal_of
from asahi_router.domain.learning.guard import Judged
from asahi_router.domain.lessons import Aim
from asahi_router.domain.models import ServedModel
from asahi_router.domain.naming import the_named
from asahi_router.domain.reasons import Word, why_chosen, why_guarded, why_named
from asahi_router.domain.refusals import no_model

_BEST_QUALITY = 5.0
_MOST_IN_CHAIN = 5


@dataclass(frozen=True, slots=True)
class Past:
    """What was learned from answers."""

    experience: Experience
    conversations: Conversations
    checks: Checks

    def of(self, task: pb.Task, features: Features, aim: Aim) -> Known:
        """What is known of a question from those before it."""
        organization_id = task.organization_id
        prefixes = self.conversations.prefixes(organization_id, features.thread, features.asked_bytes)
        outlook = self.conversations.outlook(organization_id, prefixes, features.turn)
        return Known(evidence_on(self.experience, task, features, aim), prefixes, *outlook)


Available = Callable[[str, str], bool]
"""Whether a call to a model would go through now, by the ids of provider and model."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was decided."""

    decision: pb.Decision
    chain: tuple[Candidate, ...]
    """The models that may answer, in the order in which they are asked; at least one."""
    features: Features
    """Of the question."""
    baseline: Candidate | None = None
    """The baseline model, where Asahi chose and it may answer."""
    may: tuple[Candidate, ...] = ()
    """Where the policy lets routing explore: all that may answer, whatever their quality above the floor."""
    chance: Chance | None = None
    """How likely it was that its first model answers; None: the caller named it or asked for a quality."""

    def better_than(self, model: str) -> tuple[Candidate, ...]:
        """At most two, in order: the next of the chain expected to be better than `model`, and last the baseline.

        Where the baseline may not answer, the second is another one of the chain that is better.
        """
        place = next(place for place, candidate in enumerate(self.chain) if candidate.model == model)
        last = self.baseline
        if last is not None and any(candidate.served is last.served for candidate in self.chain[: place + 1]):
            return ()  # it was asked already
        before = takewhile(lambda c: last is None or c.served is not last.served, self.chain[place + 1 :])
        better = tuple(c for c in before if c.quality > self.chain[place].quality)
        return better[:2] if last is None else (*better[:1], last)


class Decider:
    """Decides by the state of the moment."""

    def __init__(self, scale: Scale, available: Available, clock: Clock, past: Past | None = None) -> None:
        """`past`: None: nothing is learned, and the catalog's figures decide."""
        self._scale = scale
        self._available = available
        self._clock = clock
        self._past = past

    def decide(self, task: pb.Task, *, explain: bool, streamed: bool = False) -> Ranking:
        """As `decide` does, now."""
        self._scale.tariffs.turn_to(self._clock.now(), task.organization_id)
        return decide(task, self._scale, self._available, self._past, explain=explain, streamed=streamed)

    def would_answer(self, task: pb.Task) -> Candidate:
        """The model that would answer `task` now; one that is named need not take all of it."""
        if task.routing.mode != RoutingMode.ROUTING_MODE_EXPLICIT:
            return self.decide(task, explain=False).chain[0]
        _check(task)
        self._scale.tariffs.turn_to(self._clock.now())
        limits = replace(limits_of(task.routing, task.policy, self._scale.catalog, NO_GOAL), by_name=True)
        return the_named(task.routing.model, read_features(task.prompt, task.kind), limits, self._scale, answers=False)


def decide(
    task: pb.Task,
    scale: Scale,
    available: Available,
    past: Past | None = None,
    *,
    explain: bool,
    streamed: bool = False,
) -> Ranking:
    """The models that may answer `task`; `explain`: the decision lists every candidate; `streamed`: none is checked.

    With a quality asked for: the cheapest whose quality is surely that; if none is sure, the best expected to be. With
    none asked for: where outcomes of the baseline are known, the guard says who stands in for it; else the catalog.

    Raises:
        InvalidRequest: the task cannot be understood.
        ContextLengthExceeded: the prompt fits no allowed model.
        NoModelSatisfies: nor do the constraints; the message names the one that binds, and by how much.
        ModelNotFound, ModelNotAllowed, UnsupportedByModel, PriceUnknown: about the model that the caller named.
    """
    _check(task)
    features = read_features(task.prompt, task.kind)
    _check_tools(task, features)
    if task.routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT:
        return _by_name(task, features, scale, explain=explain)
    reference = scale.catalog.find(task.policy.baseline_model) or scale.catalog.baseline_model
    goal = goal_of(task, features.kind, reference.model)
    limits = limits_of(task.routing, task.policy, scale.catalog, goal)
    known = past.of(task, features, Aim(reference.model.id, goal.epsilon)) if past is not None else NOTHING_KNOWN
    evidence = known.evidence
    checked = past is not None and is_checked(task, streamed=streamed)
    risk = past.checks.risk(task.organization_id, features) if past is not None and checked else None
    candidates = [weigh(served, features, limits, scale, known) for served in scale.catalog.models]
    compared = next((c for c in candidates if c.served is reference), None)
    guarded = _guarded(candidates, compared, evidence, risk) if goal.yields else None
    if guarded is not None and evidence is not None:
        fitting, judged = guarded
        fitting.sort(key=lambda c: not available(c.provider, c.model))
        reason = why_guarded(fitting[0], compared, Word(judged, evidence, goal), features, limits)
    else:
        fitting, yielded = _by_goal(candidates, features, limits, goal, risk)
        fitting.sort(key=lambda c: not available(c.provider, c.model))
        reason = why_chosen(fitting, features, limits, goal, compared, yielded=yielded)
    fit = {c.model for c in fitting} if explain else set()
    listed = [*fitting, *(c for c in candidates if c.model not in fit)] if explain else ()
    chain = _chain(fitting, features)
    baseline = next((c for c in fitting if c.served is reference), None)
    may = _whatever_quality(candidates) if goal.yields and task.policy.exploration else ()
    return Ranking(
        _decision(fitting[0], reason, reference, features, listed),
        chain,
        features,
        baseline,
        tuple(c for c in may if available(c.provider, c.model)),
        Chance(reference.model.id) if goal.yields else None,
    )


def _by_goal(
    candidates: Sequence[Candidate], features: Features, limits: Limits, goal: Goal, risk: Risk | None
) -> tuple[list[Candidate], bool]:
    """Those that may answer, in order, and whether the goal gave way: none of them (surely) reaches it."""
    fitting = sorted((c for c in candidates if not c.violations), key=_cheapest_first)
    if fitting:
        return sorted(escalating(fitting, risk), key=_cheapest_first) if risk is not None else fitting, False
    less_good = candidates
    if goal.yields:
        less_good = [c.without(Constraint.QUALITY) for c in candidates]
    elif limits.sureness:
        less_good = [c.without(Constraint.QUALITY) if c.quality >= limits.quality else c for c in candidates]
    fitting = sorted((c for c in less_good if not c.violations), key=_best_first)
    if not fitting:
        raise no_model(less_good, features, limits, goal)
    return fitting, True


def _guarded(
    candidates: Sequence[Candidate], reference: Candidate | None, evidence: Evidence | None, risk: Risk | None
) -> tuple[list[Candidate], Judged] | None:
    """Who answers by the guard's word, then the baseline, then the rest; None: it has no word on this question."""
    if evidence is None or reference is None:
        return None
    may = _whatever_quality(candidates)
    if risk is not None:
        may = escalating_to(reference, may, risk)
    costs = {c.model: c.whole_cost_nanos for c in may if c.expected_cost_nanos is not None}
    judged = evidence.judge(costs)
    if judged is None:
        return None
    first = (judged.model, reference.model)
    rest = sorted((c for c in may if c.model not in first), key=_best_first)
    by_model = {c.model: c for c in may}
    return [by_model[model] for model in dict.fromkeys(first)] + rest, judged


def _by_name(task: pb.Task, features: Features, scale: Scale, *, explain: bool) -> Ranking:
    """The model that the caller named, and no other."""
    limits = replace(limits_of(task.routing, task.policy, scale.catalog, NO_GOAL), by_name=True)
    candidate = the_named(task.routing.model, features, limits, scale)
    reason = why_named(candidate, task.routing.model)
    others = [s for s in scale.catalog.models if s is not candidate.served] if explain else ()
    listed = [candidate, *(weigh(served, features, limits, scale) for served in others)] if explain else ()
    decision = _decision(candidate, reason, candidate.served, features, listed)
    return Ranking(decision, (candidate,), features)


def _check_tools(task: pb.Task, features: Features) -> None:
    """Refuses tools whose cost nobody knows where no more may be spent than is known."""
    if features.unpriced_tool and (task.policy.price_needed or task.routing.HasField("cost_budget_nanos")):
        message = (
            f"What the provider charges for uses of '{features.unpriced_tool}' is not known, so that the budgets that "
            "apply cannot be kept; leave it out."
        )
        raise PriceUnknown(message, param=features.unpriced_tool)


def _check(task: pb.Task) -> None:
    routing, policy = task.routing, task.policy
    if routing.HasField("quality_threshold") and not 0 <= routing.quality_threshold <= _BEST_QUALITY:
        raise InvalidRequest("'quality_threshold' must be 0 to 5.", param="quality_threshold")
    for name in ("latency_budget_ms", "cost_budget_nanos"):
        if routing.HasField(name) and getattr(routing, name) <= 0:
            raise InvalidRequest(f"'{name}' must be more than 0.", param=name)
    if policy.HasField("quality_floor") and not 0 <= policy.quality_floor <= _BEST_QUALITY:
        raise InvalidRequest("'quality_floor' must be 0 to 5.", param="quality_floor")
    if policy.HasField("epsilon") and not 0 <= policy.epsilon <= 1:
        raise InvalidRequest("'epsilon' must be 0 to 1.", param="epsilon")


def _whatever_quality(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c.without(Constraint.QUALITY) for c in candidates if all(v[0] is Constraint.QUALITY for v in c.violations)]


def _cheapest_first(candidate: Candidate) -> tuple[float, float, str]:
    return candidate.whole_cost_nanos, -candidate.quality, candidate.model


def _best_first(candidate: Candidate) -> tuple[float, float, str]:
    return -candidate.quality, candidate.whole_cost_nanos, candidate.model


def _chain(fitting: Sequence[Candidate], features: Features) -> tuple[Candidate, ...]:
    """The first few; where they are all of one provider, the last gives way to the first of another.

    So it does where none speaks the question's own protocol: part of the question may be what no other can carry.
    """
    chain = list(fitting[:_MOST_IN_CHAIN])
    if len({candidate.provider for candidate in chain}) == 1:
        other = next((candidate for candidate in fitting if candidate.provider != chain[0].provider), None)
        if other is not None:
            chain[-1] = other
    if not any(speaks(candidate.served, features) for candidate in chain):
        native = next((candidate for candidate in fitting if speaks(candidate.served, features)), None)
        if native is not None:
            chain[-1] = native
    return tuple(chain)


def _decision(
    chosen: Candidate, reason: str, reference: ServedModel, features: Features, listed: Sequence[Candidate]
) -> pb.Decision:
    return pb.Decision(
        model=chosen.model,
        provider=chosen.provider,
        reason=reason,
        expected_cost_nanos=chosen.expected_cost_nanos or 0,
        max_cost_nanos=chosen.max_cost_nanos,
        reference_model=reference.model.id,
        task_type=features.kind,
        candidates=[_told(candidate) for candidate in listed],
        expected_output_tokens=chosen.expected_output_tokens,
        max_output_tokens=chosen.max_output_tokens,
    )


def _told(candidate: Candidate) -> pb.Candidate:
    return pb.Candidate(
        model=candidate.model,
        provider=candidate.provider,
        expected_cost_nanos=candidate.expected_cost_nanos,
        quality=candidate.quality,
        quality_error=candidate.quality_error,
        first_token_ms=round(candidate.first_token_ms),
        total_ms=round(candidate.total_ms),
        check_risk=candidate.check_risk,
        escalation_cost_nanos=candidate.escalation_nanos,
        excluded_by="; ".join(violation.words for violation in candidate.violations),
    )
