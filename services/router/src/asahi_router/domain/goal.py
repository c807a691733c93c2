"""The quality that a request looks for, from what its caller and its policy say."""

from dataclasses import dataclass

from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.routing_pb2 import QualityPreference, RoutingMode, RoutingPolicy
from asahi_router.domain.models import CatalogModel

DEFAULT_FLOOR = 3.0
DEFAULT_EPSILON = 0.01
_PREFERENCES: dict[QualityPreference.ValueType, float] = {
    QualityPreference.QUALITY_PREFERENCE_LOW: 3.0,
    QualityPreference.QUALITY_PREFERENCE_MEDIUM: 3.5,
    QualityPreference.QUALITY_PREFERENCE_HIGH: 4.0,
    QualityPreference.QUALITY_PREFERENCE_MAX: 4.5,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The quality that is looked for."""

    quality: float
    """Least expected quality, 0 to 5."""
    floor: float
    """Least quality of any model that is chosen at all."""
    words: str
    """What a model is that reaches it; empty: nothing is looked for."""
    field: str = ""
    """The field that asks for it; empty: none does."""
    yields: bool = False
    """Whether it gives way where no model reaches it within the other constraints, because nobody asked for it."""
    epsilon: float = DEFAULT_EPSILON
    """Share of the baseline's quality that may be lost where nothing is asked for."""


NO_GOAL = Goal(0.0, 0.0, "")
"""Any quality will do."""


def epsilon_of(policy: RoutingPolicy) -> float:
    """Share of the baseline's quality that a policy lets be lost."""
    return policy.epsilon if policy.HasField("epsilon") else DEFAULT_EPSILON


def goal_of(task: Task, kind: str, reference: CatalogModel) -> Goal:
    """What `task` looks for at a kind of work; `reference`: the model that it is as good as, if it does not say."""
    routing, policy = task.routing, task.policy
    floor = policy.quality_floor if policy.HasField("quality_floor") else DEFAULT_FLOOR
    if routing.mode == RoutingMode.ROUTING_MODE_GUIDED:
        asked = _PREFERENCES.get(routing.quality_preference)
        if asked is None:
            return Goal(0.0, floor, "")
        name = QualityPreference.Name(routing.quality_preference).removeprefix("QUALITY_PREFERENCE_").lower()
        return Goal(asked, floor, f"of quality {asked} or more ('{name}')", "quality_preference")
    if routing.HasField("quality_threshold"):
        asked = routing.quality_threshold
        return Goal(asked, floor, f"of quality {asked:g} or more", "quality_threshold")
    epsilon = epsilon_of(policy)
    quality = reference.quality_at(kind) * (1 - epsilon)
    return Goal(quality, floor, f"as good as {reference.id} (to {100 * epsilon:.3g} %)", yields=True, epsilon=epsilon)
