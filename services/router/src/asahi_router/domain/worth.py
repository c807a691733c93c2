"""What routing was worth to an organisation, for people: its figures beside those of simpler policies."""

from asahi.router.v1 import router_pb2 as pb
from asahi.type.v1.routing_pb2 import RoutingPolicy
from asahi_core.errors import InvalidRequest
from asahi_router.domain.experience import Experience
from asahi_router.domain.goal import epsilon_of
from asahi_router.domain.learning.controls import Control
from asahi_router.domain.lessons import Aim
from asahi_router.domain.models import Catalog


class Worth:
    """Tells what was learned of routing itself."""

    def __init__(self, experience: Experience, catalog: Catalog) -> None:
        self._experience = experience
        self._catalog = catalog

    async def compare(self, organization_id: str, policy: RoutingPolicy) -> pb.CompareRoutingResponse:
        """The router and the controls beside the policy's baseline.

        Raises:
            InvalidRequest: no organisation.
        """
        if not organization_id:
            raise InvalidRequest("organization_id is missing.", param="organization_id")
        baseline = (self._catalog.find(policy.baseline_model) or self._catalog.baseline_model).model.id
        epsilon = epsilon_of(policy)
        compared = await self._experience.compared(organization_id, Aim(baseline, epsilon))
        return pb.CompareRoutingResponse(
            baseline_model=baseline,
            epsilon=epsilon,
            decisions=compared.decisions,
            explored=compared.explored,
            controls=[_told(control) for control in compared.controls],
            baseline_took_over=compared.harm is not None,
        )


def _told(control: Control) -> pb.RoutingControl:
    told = pb.RoutingControl(
        policy=control.policy,
        model=control.model,
        measured=control.measured,
        overlap=control.overlap,
        effective_answers=control.effective,
        saved=control.saved,
    )
    if control.measured:
        told.lost, told.lost_low, told.lost_high = control.lost, control.low, control.high
    return told
