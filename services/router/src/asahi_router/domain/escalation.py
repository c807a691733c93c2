"""What answers that fail their check cost besides: the next model is asked in their place, and both are billed.

How often a model's answers fail is learned from what the checks said, by organisation, apart for answers that must have
a form. Of this process; until a check failed, none is expected to.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.policy_pb2 import Cascade as Rule
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi_router.domain.candidates import Candidate
from asahi_router.domain.features import Features

_SURE_AFTER = 20.0
"""Checked answers that count as much as expecting no failure."""
_FORGETS = 0.995
_MOST = 100_000

Risk = Callable[[str], float]
"""How likely an answer of the model with that catalog id fails its check, 0 to 1."""


def is_checked(task: Task, *, streamed: bool) -> bool:
    """Whether an answer is checked before it is given: Asahi chose the model, and nothing of it was sent yet."""
    explicit = task.routing.mode == RoutingMode.ROUTING_MODE_EXPLICIT
    return not streamed and not explicit and task.policy.cascade != Rule.CASCADE_OFF


class Checks:
    """How often answers failed."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, bool], tuple[float, float]] = OrderedDict()
        """Failed and all, by organisation, model, and whether a form was asked for."""

    def checked(self, organization_id: str, model: str, features: Features, *, failed: bool) -> None:
        """An answer of the model to a question with `features` was checked."""
        key = organization_id, model, _formed(features)
        failures, answers = self._seen.pop(key, (0.0, 0.0))
        self._seen[key] = failures * _FORGETS + failed, answers * _FORGETS + 1
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)

    def risk(self, organization_id: str, features: Features) -> Risk:
        """How likely answers to a question with `features` fail."""
        formed = _formed(features)

        def of(model: str) -> float:
            failures, answers = self._seen.get((organization_id, model, formed), (0.0, 0.0))
            return failures / (answers + _SURE_AFTER)

        return of


def escalating(ordered: Sequence[Candidate], risk: Risk) -> list[Candidate]:
    """The same candidates; the cost of each has that of the next better one in it, as far as it is likely to be asked.

    Who that is goes by `ordered`; what it may cost to ask a third is left out.
    """
    better, weighed = list[Candidate](), list[Candidate]()
    for candidate in reversed(ordered):
        while better and better[-1].quality <= candidate.quality:
            better.pop()
        weighed.append(_before(candidate, better[-1], risk) if better else candidate)
        better.append(candidate)
    return weighed[::-1]


def escalating_to(last: Candidate, candidates: Sequence[Candidate], risk: Risk) -> list[Candidate]:
    """The same, where `last` is asked in the place of each that is not as good."""
    return [_before(one, last, risk) if one.quality < last.quality else one for one in candidates]


def _before(candidate: Candidate, after: Candidate, risk: Risk) -> Candidate:
    fails = risk(candidate.model)
    if not fails or candidate.expected_cost_nanos is None:
        return candidate
    return candidate.failing(fails, round(fails * (after.expected_cost_nanos or 0)))


def _formed(features: Features) -> bool:
    return features.has_schema or features.has_tools
