"""What routing was worth, in the words of `/analytics/recommendations`."""

from asahi.router.v1.router_pb2 import CompareRoutingResponse, RoutingControl
from asahi_edge.api.schemas.outlook import Interval, RoutingControlView, RoutingView

_ROUTER = "router"


def routing_view(found: CompareRoutingResponse) -> RoutingView:
    """The router and its controls, and what they come to."""
    router = next((control for control in found.controls if control.policy == _ROUTER), None)
    measured = router is not None and router.measured
    state = "measured" if measured else "insufficient_evidence"
    return RoutingView(
        state="baseline_took_over" if found.baseline_took_over else state,
        says=_says(found, router),
        baseline_model=found.baseline_model,
        epsilon=found.epsilon,
        decisions=found.decisions,
        explored=found.explored,
        controls=[_control(control) for control in found.controls],
    )


def _control(found: RoutingControl) -> RoutingControlView:
    lost = Interval(point=round(found.lost, 6), low=round(found.lost_low, 6), high=round(found.lost_high, 6))
    return RoutingControlView(
        policy=found.policy,
        model=found.model or None,
        state="measured" if found.measured else "insufficient_evidence",
        saved=round(found.saved, 6),
        lost=lost if found.measured else None,
        overlap=round(found.overlap, 6),
        effective_answers=round(found.effective_answers, 1),
    )


def _says(found: CompareRoutingResponse, router: RoutingControl | None) -> str:
    if router is None:
        return (
            f"{found.decisions} answers of the last 30 days were judged in which Asahi chose the model; from 200 on "
            "there is something to say. POST /feedback judges answers."
        )
    if not router.measured:
        return (
            f"{found.baseline_model} might have been drawn on {100 * router.overlap:.0f} % of {found.decisions} judged "
            "questions only: what routing loses cannot be measured. A `learning.exploration` above 0 in the policy "
            "draws models at random on that share of questions."
        )
    lost = f"{100 * router.lost:.2f} % of its quality lost"
    interval = f"95 %: {100 * router.lost_low:.2f} to {100 * router.lost_high:.2f}"
    saved = f"{100 * router.saved:.1f} % of the cost of {found.baseline_model} saved"
    figures = f"{saved} and {lost} ({interval}), by {found.decisions} judged answers"
    if found.baseline_took_over:
        return f"{figures}: more than {100 * found.epsilon:.3g} %, so that {found.baseline_model} answers for now."
    return f"{figures}."
