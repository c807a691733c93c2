"""A request as the task that the router is given."""

from asahi.router.v1.router_pb2 import Payer, Task
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.policies import routing_policy


def task_of(request: InferenceRequest) -> Task:
    """What the router decides on, and whom it bills if this process vanishes."""
    verdict = request.verdict
    return Task(
        organization_id=request.organization_id,
        request_id=request.request_id,
        prompt=request.prompt,
        routing=request.routing,
        policy=routing_policy(request),
        first_attempt=request.first_attempt,
        kind=request.kind,
        payer=Payer(
            api_key_id=verdict.api_key_id,
            user_id=request.user_id,
            task_id=request.task_id,
            tags=request.tags,
            api=request.api,
        ),
    )
